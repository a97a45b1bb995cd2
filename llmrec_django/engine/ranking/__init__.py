from llmrec_django.engine.ranking.blend import Blend, BlendConfig, fit_blend, fit_folds
from llmrec_django.engine.ranking.calibrate import Calibration
from llmrec_django.engine.ranking.fusion import reciprocal_rank_fusion
from llmrec_django.engine.ranking.history import history_vector
from llmrec_django.engine.ranking.mmr import mmr_order
from llmrec_django.engine.ranking.topk import rank_top_k, tie_keys

__all__ = [
    "Blend",
    "BlendConfig",
    "Calibration",
    "fit_blend",
    "fit_folds",
    "history_vector",
    "mmr_order",
    "rank_top_k",
    "reciprocal_rank_fusion",
    "tie_keys",
]
