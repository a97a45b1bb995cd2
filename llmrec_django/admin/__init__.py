"""The admin: one module an area."""

from llmrec_django.admin import learners, placements, resources, screening, texts, vectors, versions  # noqa: F401
