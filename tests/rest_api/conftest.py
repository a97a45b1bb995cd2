import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.cache import cache
from rest_framework.test import APIClient

from llmrec_django.models import Resource
from llmrec_django.services import embedding
from llmrec_django.sources import ResourceSource, registry

VISITOR = {"VISITOR_COOKIE": "visitor"}
LLMREC = {
    "CELERY": False,
    "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {"dimension": 64}}},
    "API_THROTTLES": {"read": None, "write": None, "search": None},
    **VISITOR,
}


@pytest.fixture(autouse=True)
def llmrec(settings):
    """A fresh cache and the hashing encoder; returns a function that changes LLMREC."""

    def change(**options):
        settings.LLMREC = {**LLMREC, **options}

    cache.clear()
    change()
    return change


@pytest.fixture
def client():
    return APIClient()


@pytest.fixture
def member(db):
    return get_user_model().objects.create_user("ada@example.org")


@pytest.fixture
def other(db):
    return get_user_model().objects.create_user("bo@example.org")


@pytest.fixture
def signed_in(member):
    client = APIClient()
    client.force_login(member)
    return client


@pytest.fixture
def visitor():
    client = APIClient()
    client.cookies["visitor"] = "a-key-nobody-guesses"
    return client


@pytest.fixture
def catalogue(db):
    """Six resources of one tenant that anyone may see, one draft, and one of another tenant."""
    Resource.objects.bulk_create(
        [
            Resource(key="ml", title="Machine learning", description="models trained on data", url="/ml/"),
            Resource(key="dl", title="Deep learning", description="neural models trained on data", level="advanced"),
            Resource(key="stat", title="Statistics", description="samples of data", kind="book", language="en"),
            Resource(key="cook", title="Bread", description="flour and water", kind="book", language="fr"),
            Resource(
                key="course:42",
                title="Algebra",
                description="groups",
                translations={"zh-hans": {"title": "代数", "description": "群"}},
                authors=["E. Noether"],
                keywords=["maths"],
                duration_minutes=90,
                level="beginner",
                language="en",
            ),
            Resource(key="数学/入门 100%?#", title="Mathematics", description="numbers"),
            Resource(key="draft", title="Machine learning draft", published=False),
            Resource(key="elsewhere", title="Machine learning elsewhere", tenant="other"),
        ]
    )
    embedding.embed_pending()
    return {resource.key: resource for resource in Resource.objects.all()}


@pytest.fixture
def members_only(db, member):
    """A resource whose source shows it to `member` alone."""

    class GroupSource(ResourceSource):
        name = "group"
        fields = {"title": "name"}

        def visible_to(self, user, queryset):
            return queryset if user == member else queryset.none()

    registry.add_resources(GroupSource(Group))
    from django.contrib.contenttypes.models import ContentType

    group = Group.objects.create(name="Secret machine learning")
    Resource.objects.filter(key=f"group:{group.pk}").delete()
    content_type = ContentType.objects.get_for_model(Group)
    yield Resource.objects.create(
        key="secret", title="Secret machine learning", content_type=content_type, object_id=str(group.pk)
    )
    registry.unregister(Group)
