"""Things for tests, also for the tests of sites that use this app."""

from llmrec_django.testing.hashing import HashingEncoder

__all__ = ["HashingEncoder"]
