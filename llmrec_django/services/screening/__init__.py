"""The safety screen: looking at new and changed texts, and letting people decide about what was found."""

from llmrec_django.services.screening.review import decide
from llmrec_django.services.screening.run import ScreenReport, count_unscreened, screen_pending, texts_of

__all__ = ["ScreenReport", "count_unscreened", "decide", "screen_pending", "texts_of"]
