"""The admin: one module an area."""

from llmrec_django.admin import (  # noqa: F401
    editorial,
    experiments,
    learners,
    lists,
    placements,
    resources,
    screening,
    texts,
    vectors,
    versions,
)
