"""Things for tests, also for the tests of sites that use this app.

`encoders` and `sources` hold contract tests for a site's own encoders and sources, `factories` makes rows.
"""

from llmrec_django.testing.hashing import HashingEncoder

__all__ = ["HashingEncoder"]
