"""Reasons: what is known, said in the reader's language. Why a resource is recommended, and why a version serves."""

from __future__ import annotations

from llmrec_django.services.reasons.versions import (
    SENTENCES,
    Reason,
    explain,
    in_english,
    sentences,
    source_label,
)

__all__ = ["SENTENCES", "Reason", "explain", "in_english", "sentences", "source_label"]
