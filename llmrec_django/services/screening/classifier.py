"""A site's own classifier beside the rules: a callable named in LLMREC["SCREEN"]["CLASSIFIER"]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from llmrec_django.conf import LLMRecConfigurationError, conf
from llmrec_django.engine.safety.screen import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmrec_django.engine.safety.screen import TextFields

LONGEST_EXCERPT = 500


def classify(texts: Sequence[TextFields]) -> list[list[Finding]]:
    """Ask the site's classifier about texts that the rules found nothing in.

    Returns:
        The findings about each text, in the order given; an empty list passes the text.

    Raises:
        LLMRecConfigurationError: there is no such callable, or its answer does not fit the texts.
        Exception: whatever the classifier raises.
    """
    path = conf.SCREEN["CLASSIFIER"]
    try:
        function: Callable[[Sequence[TextFields]], Any] = import_string(path)
    except ImportError as exc:
        raise LLMRecConfigurationError(
            f"Cannot import {path!r} for LLMREC['SCREEN']['CLASSIFIER']. {exc}. Give the dotted path of a callable."
        ) from exc
    answer = list(function(texts))
    if len(answer) != len(texts) or not all(isinstance(finding, Finding) for found in answer for finding in found):
        raise LLMRecConfigurationError(
            f"Cannot use the answer of {path!r}. It must give one list of Findings for each of the {len(texts)} texts. "
            "Correct the classifier."
        )
    return [
        [Finding(finding.rule[:64], finding.field[:64], finding.excerpt[:LONGEST_EXCERPT]) for finding in found]
        for found in answer
    ]
