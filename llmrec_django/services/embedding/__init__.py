from llmrec_django.services.embedding.claims import count_pending, has_pending
from llmrec_django.services.embedding.run import EmbedReport, embed_pending, work_is_pending

__all__ = ["EmbedReport", "count_pending", "embed_pending", "has_pending", "work_is_pending"]
