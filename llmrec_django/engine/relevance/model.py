"""The relevance model, top to bottom.

    r_i(u) = softmax_i( S(u) · R(i) )

R(i) = A·f(i) + E(i): the frozen text vector f(i) of a resource through a trained adaptor A, plus a trained delta E(i)
of bounded length (Pembek et al. 2025, arXiv 2507.19473). A resource that training never met borrows its E(i) from
those whose texts are most like its own, so one saved a minute ago has an R(i) too; in training some must borrow in
every step, which is what makes the loans good.

S(u) = T(profile, R(i_1), R(i_2), …) + E(u): a causal transformer over the learner's interactions, oldest first, in the
manner of SASRec (Kang & McAuley 2018, arXiv 1808.09781) with SwiGLU blocks as in eSASRec (arXiv 2508.06450). Before
the first interaction stands a pseudo-step that holds the learner's profile text, or nothing: its state is what a
newcomer is recommended by.

Letters of the shapes: B learners in the batch, L interactions, D embedding size, F text features, N resources, H heads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec_django.engine.relevance.data import GAP_BUCKETS
from llmrec_django.engine.relevance.item_features import nearest_texts

if TYPE_CHECKING:
    from llmrec_django.engine.relevance.config import RelevanceConfig


class Block(nn.Module):
    """x + attention(norm(x)), then x + swiglu(norm(x))."""

    def __init__(self, config: RelevanceConfig) -> None:
        super().__init__()
        size, hidden = config.embedding_size, config.hidden_size
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size, bias=False)
        self.attention_out = nn.Linear(size, size, bias=False)
        self.forward_norm = nn.LayerNorm(size)
        self.gate_and_value = nn.Linear(size, 2 * hidden, bias=False)
        self.forward_out = nn.Linear(hidden, size, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """[B, L, D] → [B, L, D]; a position sees itself and what came before, or what `seen` has, bool [B, 1, L, L]."""
        x = x + self.dropout(self.attention(self.attention_norm(x), seen))
        return x + self.dropout(self._forwarded(x))

    def attention(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Causal self-attention. Padding stands on the right, where no real position looks: no mask is needed."""
        batch, length, size = x.shape
        heads = self.query_key_value(x).view(batch, length, 3, self.heads, size // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, L, D/H] each
        mixed = functional.scaled_dot_product_attention(query, key, value, seen, is_causal=seen is None)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, size))  # [B, L, D]

    def at_the_end(self, x: Tensor, seen: Tensor) -> Tensor:
        """[B, L, D] → [B, M, D]: what `forward` gives at the last M positions, and nothing of the others.

        Nobody asks for more of the last block.

        Args:
            x: What the block reads.
            seen: What the last M positions see; bool [B, 1, M, L].
        """
        batch, length, size = x.shape
        head, count = size // self.heads, seen.shape[2]
        of_query, of_rest = self.query_key_value.weight.split([size, 2 * size])
        normed, x = self.attention_norm(x), x[:, length - count :]
        query = functional.linear(normed[:, length - count :], of_query).view(batch, count, self.heads, head)
        rest = functional.linear(normed, of_rest).view(batch, length, 2, self.heads, head)
        key, value = rest.permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, L, D/H] each
        mixed = functional.scaled_dot_product_attention(query.transpose(1, 2), key, value, seen)  # [B, H, M, D/H]
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, count, size))
        return x + self._forwarded(x)

    def _forwarded(self, x: Tensor) -> Tensor:
        gate, value = self.gate_and_value(self.forward_norm(x)).chunk(2, dim=-1)  # [B, L, hidden] each
        forwarded: Tensor = self.forward_out(functional.silu(gate) * value)
        return forwarded


class LearnerTransformer(nn.Module):
    """T: what S(u) is without E(u). This part alone is exported for serving."""

    def __init__(self, config: RelevanceConfig, n_verbs: int) -> None:
        super().__init__()
        size = config.embedding_size
        self.read = nn.Linear(size, size, bias=False)
        self.verb = nn.Embedding(n_verbs, size)
        self.gap = nn.Embedding(GAP_BUCKETS, size)
        self.value = nn.Linear(2, size, bias=False)
        self.position = nn.Embedding(config.max_length + 1, size)
        self.start = nn.Parameter(torch.zeros(size))
        self.reversed = nn.Parameter(torch.zeros(size))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(size)
        self.apply(_initialise)
        for block in self.blocks:  # residual branches start small: depth does not inflate x (GPT-2)
            nn.init.normal_(block.attention_out.weight, std=0.5 / math.sqrt(2 * config.layers * size))
            nn.init.normal_(block.forward_out.weight, std=0.5 / math.sqrt(2 * config.layers * config.hidden_size))

    def forward(
        self,
        resources: Tensor,
        verbs: Tensor,
        values: Tensor,
        gaps: Tensor,
        profile: Tensor,
        is_reversed: Tensor | None = None,
    ) -> Tensor:
        """Compute the state after each number of interactions.

        Args:
            resources: R of the interactions, oldest first; float [B, L, D]; L may be 0; padding on the right.
            verbs: Codes; int64 [B, L].
            values: Ratings or progress in [0, 1], NaN for none; float [B, L].
            gaps: `gap_buckets` of the time since the interaction before; int64 [B, L].
            profile: A·f of the profile's text, zeros for none; float [B, D].
            is_reversed: Whose interactions stand latest first; bool [B]. None: nobody's.

        Returns:
            float [B, L + 1, D]: [:, n] is the state after the first n interactions.
        """
        x = self._steps(resources, verbs, values, gaps, profile)
        if is_reversed is not None:
            x = x + self.reversed * is_reversed.view(-1, 1, 1)
        for block in self.blocks:
            x = block(x)
        state: Tensor = self.norm(x)
        return state

    def last(
        self,
        resources: Tensor,
        verbs: Tensor,
        values: Tensor,
        gaps: Tensor,
        profile: Tensor,
        lengths: Tensor,
        left_out: Tensor | None = None,
    ) -> Tensor:
        """Compute the state after all interactions, and what it would be without this one or that.

        With nothing left out, with everything, or with the latest ones, it is exactly what `forward` gives. What stands
        further back is left out on the way to the last state alone: this position is read anew in every block, and
        does not see it; what other positions took from it before stays with them. That costs one position more for
        each variant, where reading all of the history again would cost them all (measured in docs/decisions/0014).

        Without dropout, so not for training. Arguments as for `forward`.

        Args:
            lengths: int64 [B].
            left_out: The interactions that each of M variants of a learner lacks; bool [B, M, L]. None: nothing, M = 1.

        Returns:
            float [B, M, D]
        """
        x = self._steps(resources, verbs, values, gaps, profile)  # [B, L + 1, D]
        batch, length, size = x.shape
        if left_out is None:
            left_out = torch.zeros((batch, 1, length - 1), dtype=torch.bool, device=x.device)
        count = left_out.shape[1]
        place = torch.arange(length, device=x.device)
        there = torch.cat([torch.ones_like(left_out[:, :, :1]), ~left_out], dim=2)  # [B, M, L + 1]
        there = there & (place <= lengths.view(-1, 1, 1))
        end = (place * there).amax(dim=2, keepdim=True)  # [B, M, 1]
        # Each variant is one position more: it stands where its history ends, and sees itself and what came before.
        x = torch.cat([x, x.gather(1, end.expand(-1, -1, size))], dim=1)  # [B, L + 1 + M, D]
        variant = torch.arange(count, device=x.device)
        itself = (variant == variant.view(-1, 1)).expand(batch, -1, -1)
        of_variants = torch.cat([there & (place < end), itself], dim=2)  # [B, M, L + 1 + M]
        before = (place <= place.view(-1, 1)).expand(batch, -1, -1)  # [B, L + 1, L + 1]
        of_steps = torch.cat([before, torch.zeros_like(of_variants[:, :, :length]).transpose(1, 2)], dim=2)
        seen = torch.cat([of_steps, of_variants], dim=1).unsqueeze(1)
        *first, final = self.blocks
        for block in first:
            x = block(x, seen)
        state: Tensor = self.norm(final.at_the_end(x, seen[:, :, length:]))
        return state

    def _steps(self, resources: Tensor, verbs: Tensor, values: Tensor, gaps: Tensor, profile: Tensor) -> Tensor:
        """Lay out what the blocks read: the pseudo-step, then the interactions; float [B, L + 1, D]."""
        known = (~torch.isnan(values)).to(resources.dtype)
        given = torch.stack([torch.nan_to_num(values) * known, known], dim=-1)  # [B, L, 2]
        steps = self.read(resources) + self.verb(verbs) + self.gap(gaps) + self.value(given)  # [B, L, D]
        first = (self.start + self.read(profile)).unsqueeze(1)  # [B, 1, D]
        x = torch.cat([first, steps], dim=1)
        laid: Tensor = self.dropout(x + self.position.weight[: x.shape[1]])
        return laid


class RelevanceModel(nn.Module):
    """S(u) and R(i) with their trained embeddings.

    Args:
        config: Sizes.
        features: `Whitening` of the catalogue's text vectors, float [N, F]; rows of zeros for resources without text.
        met: Resources that training data hold; bool [N].
        n_verbs: Number of verb codes.
        n_learners: Learners with an E(u), 0 for none.
    """

    features: Tensor
    met: Tensor
    lenders: Tensor
    lender_weights: Tensor

    def __init__(
        self, config: RelevanceConfig, features: Tensor, met: Tensor, n_verbs: int, n_learners: int = 0
    ) -> None:
        super().__init__()
        size = config.embedding_size
        self.config = config
        self.n_features = features.shape[1]
        self.register_buffer("features", with_no_text_flag(features))  # [N, F + 1]
        self.register_buffer("met", met)
        lenders, weights = text_lenders(config, features, met)
        self.register_buffer("lenders", lenders)  # [N, K]
        self.register_buffer("lender_weights", weights)  # [N, K]
        self.adaptor = nn.Linear(features.shape[1] + 1, size, bias=False)
        self.delta = nn.Embedding(len(features), size)  # E(i)
        self.learner = nn.Embedding(n_learners, size) if n_learners else None  # E(u)
        self.transformer = LearnerTransformer(config, n_verbs)
        nn.init.normal_(self.adaptor.weight, std=1 / math.sqrt(size))  # A·f is about as long as f: 1
        # E(i) starts near 0: a resource begins as its text, or every R(i) would be half noise for epochs.
        nn.init.normal_(self.delta.weight, std=0.02 / math.sqrt(size))
        nn.init.zeros_(self.adaptor.weight[:, -1])
        if self.learner is not None:
            nn.init.zeros_(self.learner.weight)

    def resource_vectors(self, rows: Tensor | None = None, own: Tensor | None = None) -> Tensor:
        """R(i).

        Args:
            rows: Which resources, int64 [n]; None for all.
            own: Which of them have an E(i) of their own; the others borrow. bool [n]; None: all that training met.

        Returns:
            float [n, D].
        """
        if rows is None:
            rows = torch.arange(len(self.met), device=self.met.device)
        own = self.met[rows] if own is None else own & self.met[rows]
        delta = bounded(self.delta(rows), self.config.delta_bound) * own.unsqueeze(1)
        borrowers = torch.nonzero(~own)[:, 0]
        lent = bounded(self.delta(self.lenders[rows[borrowers]]), self.config.delta_bound)  # [b, K, D]
        lent = (lent * self.lender_weights[rows[borrowers]].unsqueeze(2)).sum(dim=1)  # [b, D]
        vectors: Tensor = self.adaptor(self.features[rows]) + delta.index_add(0, borrowers, lent)
        return vectors

    def profile_vectors(self, profile: Tensor) -> Tensor:
        """A·f of profile texts, float [B, F] → [B, D]; zeros for a row of zeros."""
        has_text = (profile != 0).any(dim=-1, keepdim=True)
        vectors: Tensor = self.adaptor(with_no_text_flag(profile)) * has_text
        return vectors


def text_lenders(config: RelevanceConfig, features: Tensor, met: Tensor) -> tuple[Tensor, Tensor]:
    """Choose for each resource those that training met and whose text is most like its own: rows and weights [N, K]."""
    sources = torch.nonzero(met & features.any(dim=1))[:, 0]
    place = torch.full((len(features),), -1)
    place[sources] = torch.arange(len(sources))
    rows, weights = nearest_texts(
        features.numpy(), features[sources].numpy(), config.neighbours, config.neighbour_temperature, same=place.numpy()
    )
    return (sources[torch.as_tensor(rows)] if len(sources) else torch.as_tensor(rows)), torch.as_tensor(weights)


def with_no_text_flag(features: Tensor) -> Tensor:
    """Append a column that is 1 where a row has no text, so that A learns a vector for those: [n, F] → [n, F + 1]."""
    no_text = (features == 0).all(dim=-1, keepdim=True).to(features.dtype)
    return torch.cat([features, no_text], dim=-1)


def bounded(vectors: Tensor, bound: float) -> Tensor:
    """Shorten rows smoothly so that none is as long as `bound`; short rows stay nearly as they are."""
    squared = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * torch.rsqrt(1 + squared / bound**2)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.2 / math.sqrt(module.embedding_dim))
