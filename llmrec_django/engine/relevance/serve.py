"""Serve a trained relevance model with ONNX Runtime: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_django.engine.encoders.dependencies import require
from llmrec_django.engine.relevance.artifact import GRAPH, TENSORS, read_manifest
from llmrec_django.engine.relevance.config import RelevanceConfig
from llmrec_django.engine.relevance.data import latest
from llmrec_django.engine.relevance.item_features import Whitening, nearest_texts
from llmrec_django.exceptions import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from llmrec_django.engine.interactions import InteractionLog
    from llmrec_django.types import Float32Matrix

BATCH = 256


@dataclass(frozen=True, eq=False)
class RelevanceScorer:
    """S(u) of any learner and R(i) of any resource; relevance is their inner product.

    One object serves all threads of a process.
    """

    config: RelevanceConfig
    description: dict[str, Any]
    """What was given to `export_model`."""
    whitening: Whitening
    adaptor: Float32Matrix
    """A, [D, F + 1]."""
    _session: Any
    _tensors: Any

    def resource_matrix(self) -> Float32Matrix:
        """R of the resources in training, [N, D]; read from the file at each call, so keep it if you need it."""
        return self._read("resource_vectors")

    def arrays(self, name: str) -> NDArray[Any]:
        """Return an array that was given to `export_model`.

        Raises:
            KeyError: there is none of this name.
        """
        return self._read(f"arrays.{name}")

    def resource_vectors(self, text_vectors: Float32Matrix) -> Float32Matrix:
        """R of resources that were not in training: A·f + E borrowed from those whose texts are most like theirs.

        Args:
            text_vectors: The language model's vectors, float32 [n, V]; a row of zeros for no text.

        Returns:
            float32 [n, D].

        Raises:
            DimensionMismatch: the vectors are of another encoder.
        """
        features = self.whitening(text_vectors)
        no_text = ~features.any(axis=1, keepdims=True)
        vectors: Float32Matrix = np.hstack([features, no_text.astype(np.float32)]) @ self.adaptor.T
        lent = self._read("lenders.delta")
        rows, weights = nearest_texts(
            features, self._read("lenders.features"), self.config.neighbours, self.config.neighbour_temperature
        )
        if len(lent):
            vectors += np.einsum("nk,nkd->nd", weights, lent[rows])
        return vectors

    def learner_vectors(
        self,
        log: InteractionLog,
        learners: NDArray[np.integer],
        resource_vectors: Float32Matrix,
        *,
        profiles: Float32Matrix | None = None,
    ) -> Float32Matrix:
        """S(u) after all that the log holds.

        Args:
            log: Histories; its verbs are the codes of training.
            learners: Rows of the log; int [B]. A learner without interactions is a newcomer.
            resource_vectors: R of the log's resources, float32 [log.n_resources, D].
            profiles: The language model's vectors of the log's learners' profiles, [U, V]; zeros for none.

        Returns:
            float32 [B, D], in the order of `learners`; the same as in training without E(u).
        """
        learners = np.asarray(learners, dtype=np.int64)
        log = log.without_pings()
        result = np.zeros((len(learners), self.config.embedding_size), dtype=np.float32)
        order = np.argsort(log.lengths[learners], kind="stable")  # alike lengths together: little padding
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            steps = latest(log, learners[part], self.config.max_length)
            nothing = np.zeros((len(part), 1, steps["resources"].shape[1]), dtype=bool)
            theirs = None if profiles is None else profiles[learners[part]]
            result[part] = self._states(steps, resource_vectors, theirs, nothing)[:, 0]
        return result

    def without_each(
        self,
        log: InteractionLog,
        left_out: NDArray[np.integer],
        resource_vectors: Float32Matrix,
        *,
        profile: Float32Matrix | None = None,
    ) -> Float32Matrix:
        """S(u) of one learner as they are, without each of some resources, and without all they met; in one pass.

        Exact for the whole, without all, and without the latest resource where it was met but once; else see
        `LearnerTransformer.last`. What stands too far back to be read changes nothing.

        Args:
            log: The history of one learner; as for `learner_vectors`.
            left_out: Resources; int [m].
            resource_vectors: As for `learner_vectors`.
            profile: The language model's vector of their profile, [1, V].

        Returns:
            float32 [m + 2, D]
        """
        assert log.n_learners == 1, "this is asked of one learner at a time"
        steps = latest(log.without_pings(), np.zeros(1, dtype=np.int64), self.config.max_length)
        lacking = np.zeros((1, len(left_out) + 2, steps["resources"].shape[1]), dtype=bool)
        lacking[0, 1:-1] = steps["resources"] == np.asarray(left_out)[:, None]
        lacking[0, -1] = True
        states: Float32Matrix = self._states(steps, resource_vectors, profile, lacking)[0]
        return states

    def _states(
        self,
        steps: dict[str, Any],
        resource_vectors: Float32Matrix,
        profiles: Float32Matrix | None,
        left_out: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Run the graph; float32 [B, M, D].

        Args:
            steps: As `latest` lays them out.
            resource_vectors: R of the resources in them.
            profiles: Of these learners.
            left_out: As for `LearnerTransformer.last`.
        """
        if not len(resource_vectors):  # newcomers only: padding still reads row 0
            resource_vectors = np.zeros((1, self.config.embedding_size), dtype=np.float32)
        inputs = {**steps, "resources": resource_vectors[steps["resources"]], "left_out": left_out}
        if profiles is None:
            inputs["profile"] = np.zeros((len(left_out), self.adaptor.shape[1] - 1), dtype=np.float32)
        else:
            inputs["profile"] = self.whitening(profiles)
        states: NDArray[np.float32] = self._session.run(["state"], inputs)[0]
        return states

    def _read(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self._tensors.get_tensor(name)
        return array


def open_scorer(folder: Path, digest: str = "", *, threads: int = 1) -> RelevanceScorer:
    """Open what `export_model` wrote.

    Args:
        folder: Where it is.
        digest: What `export_model` returned; "" skips that check, not those of the files.
        threads: Threads that one call may use. A web process serves several requests at once, so 1.

    Raises:
        ArtifactError: a file is missing or is not what was written, or is of another version.
        MissingDependency: onnxruntime or safetensors is not installed.
    """
    manifest = read_manifest(folder, digest)
    runtime = require("onnxruntime", extra="web")
    safe_open = require("safetensors", extra="web").safe_open
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
        tensors = safe_open(str(folder / TENSORS), framework="numpy")
        return RelevanceScorer(
            config=RelevanceConfig.from_dict(manifest["config"]),
            description=manifest["description"],
            whitening=Whitening(tensors.get_tensor("whitening.mean"), tensors.get_tensor("whitening.matrix")),
            adaptor=tensors.get_tensor("weights.adaptor.weight"),
            _session=session,
            _tensors=tensors,
        )
    except Exception as exc:  # both libraries raise errors of their own
        raise ArtifactError(
            f"Cannot load relevance model {str(folder)!r}. {exc} Upgrade onnxruntime to the worker's version, or "
            "train again."
        ) from exc
