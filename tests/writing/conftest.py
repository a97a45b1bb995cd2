import json

import pytest
from django.core.cache import cache

from llmrec_django.models import WrittenText
from llmrec_django.services.writing import client
from llmrec_django.services.writing.prompt import PROMPT_VERSION
from llmrec_django.testing.factories import ResourceFactory
from llmrec_django.types import Evidence, EvidenceResource
from tests.engine.conftest import Service


def chat(text, status=200, **headers):
    """An answer of a chat endpoint that says `text`."""
    body = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    return lambda request: (status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


@pytest.fixture
def service():
    """A real server that answers as the test says."""
    made = Service()
    yield made
    made.close()


@pytest.fixture
def writer(settings, service):
    """Let the site write with `service`; returns a function that changes WRITER."""

    def change(**options):
        given = {"base_url": service.url, "model": "tiny", "retry_wait_s": 0, "timeout_s": 5, "max_retries": 0}
        given |= options.pop("OPTIONS", {})
        backend = "llmrec_django.engine.writers.chat.ChatWriter"
        settings.LLMREC = {
            "CELERY": False,
            "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 64}}},
            "WRITER": {"BACKEND": backend, "OPTIONS": given, **options},
        }
        client.forget_writer()
        cache.clear()

    change()
    yield change
    client.forget_writer()
    cache.clear()


@pytest.fixture
def evidence(db):
    """Why a stored resource is recommended, and to somebody who completed another."""
    algebra = ResourceFactory(title="Linear Algebra", translations={"zh-hans": {"title": "线性代数"}})
    graphs = ResourceFactory(title="Spectral Graph Theory", translations={"zh-hans": {"title": "谱图理论"}})
    return Evidence(
        resource=EvidenceResource(graphs.pk, graphs.key, graphs.title, {"zh-hans": "谱图理论"}),
        source="trained",
        own=(EvidenceResource(algebra.pk, algebra.key, algebra.title, {"zh-hans": "线性代数"}, verb="completed"),),
        keywords=("eigenvalues", "特征值"),
    )


GOOD = 'Because you completed "Linear Algebra", "Spectral Graph Theory" goes on with eigenvalues.'
GOOD_ZH = "您完成了《线性代数》，《谱图理论》接着讲特征值。"


def rows():
    return WrittenText.objects.filter(prompt_version=PROMPT_VERSION).order_by("pk")
