"""Whether a title that is no resource's, such as a competency's, may be named to learners and models."""

from __future__ import annotations

import functools

from llmrec_django.conf import conf
from llmrec_django.engine.safety.screen import screen_text


def may_be_named(title: str) -> bool:
    """Return whether the rules that count on this site find nothing in a title.

    Nothing is stored about it and nobody decides: it is looked at whenever it would be named.
    """
    return not conf.SCREEN["ENABLED"] or _rules(title) <= frozenset(conf.SCREEN["IGNORE"])


@functools.lru_cache(maxsize=4096)
def _rules(title: str) -> frozenset[str]:
    return frozenset(finding.rule for finding in screen_text(title))
