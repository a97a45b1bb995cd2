"""An encoder slow enough to be interrupted."""

import time

from llmrec_django.testing import HashingEncoder


class SlowEncoder(HashingEncoder):
    """Takes 20 ms a text."""

    def encode_documents(self, texts):
        time.sleep(0.02 * len(texts))
        return super().encode_documents(texts)
