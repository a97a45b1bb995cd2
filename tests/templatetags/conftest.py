import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.template import engines

from llmrec_django.models import Resource
from llmrec_django.services import embedding
from llmrec_django.web import guard

LLMREC = {
    "CELERY": False,
    "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 64}}},
    "VISITOR_COOKIE": "visitor",
}
VISITOR_KEY = "a-key-nobody-guesses"


@pytest.fixture(autouse=True)
def llmrec(settings):
    """A fresh cache and the hashing encoder; returns a function that changes LLMREC."""

    def change(**options):
        settings.LLMREC = {**LLMREC, **options}

    cache.clear()
    guard._logged.clear()
    change()
    return change


@pytest.fixture
def render():
    """Render template text with our tags loaded."""

    def render(text, **context):
        return engines["django"].engine.from_string("{% load llmrec_django %}" + text).render(_context(context))

    return render


def _context(values):
    from django.template import Context

    return Context(values)


@pytest.fixture
def member(db):
    return get_user_model().objects.create_user("ada@example.org")


@pytest.fixture
def other(db):
    return get_user_model().objects.create_user("bo@example.org")


@pytest.fixture
def request_of(rf):
    """Make a request of an account, of a visitor (with `visitor=True`) or of a stranger."""

    def make(user=None, visitor=False):
        from django.contrib.auth.models import AnonymousUser

        request = rf.get("/")
        request.user = user or AnonymousUser()
        if visitor:
            request.COOKIES["visitor"] = VISITOR_KEY
        return request

    return make


@pytest.fixture
def catalogue(db):
    Resource.objects.bulk_create(
        [
            Resource(key="ml", title="Machine learning", description="models trained on data", url="/ml/"),
            Resource(key="dl", title="Deep learning", description="neural models trained on data", url="/dl/"),
            Resource(key="stat", title="Statistics", description="samples of data", kind="book", url="/stat/"),
            Resource(key="cook", title="Bread", description="flour and water", kind="book"),
            Resource(key="draft", title="A draft", published=False),
        ]
    )
    embedding.embed_pending()
    return {resource.key: resource for resource in Resource.objects.all()}
