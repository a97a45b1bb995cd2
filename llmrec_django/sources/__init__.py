from llmrec_django.sources.base import ActivitySource, ResourceSource
from llmrec_django.sources.registry import register, register_activity, registry

__all__ = ["ActivitySource", "ResourceSource", "register", "register_activity", "registry"]
