"""Hostile text: what nobody sees in it, and what it says to a language model instead of to a learner."""

from llmrec_django.engine.safety.screen import RULES_ID, Finding, TextFields, screen_fields, screen_text

__all__ = ["RULES_ID", "Finding", "TextFields", "screen_fields", "screen_text"]
