from llmrec_django.engine.ranking.fusion import reciprocal_rank_fusion
from llmrec_django.engine.ranking.history import history_vector
from llmrec_django.engine.ranking.mmr import mmr_order

__all__ = ["history_vector", "mmr_order", "reciprocal_rank_fusion"]
