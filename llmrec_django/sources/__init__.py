"""How a host names its own models as learning resources and learner activity."""

from llmrec_django.sources.base import ActivitySource, ResourceSource
from llmrec_django.sources.pausing import paused
from llmrec_django.sources.registry import AlreadyRegistered, NotRegistered, register, register_activity, registry

__all__ = [
    "ActivitySource",
    "AlreadyRegistered",
    "NotRegistered",
    "ResourceSource",
    "paused",
    "register",
    "register_activity",
    "registry",
]
