import numpy as np
import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from llmrec_django.models import Resource, ResourceVector, VectorSpace
from tests.testapp.models import Member


@pytest.fixture
def boss(client, db):
    """A superuser's browser."""
    client.force_login(Member.objects.create_superuser("boss@example.org", "secret"))
    return client


@pytest.fixture
def staff_with(client, db):
    """Return a function that logs in a member of staff with these permissions only."""

    def log_in(*codenames):
        member = Member.objects.create_user("staff@example.org", "secret", is_staff=True)
        permissions = Permission.objects.filter(content_type__app_label="llmrec_django", codename__in=codenames)
        assert permissions.count() == len(codenames)
        member.user_permissions.set(permissions)
        client.force_login(member)
        return client

    return log_in


@pytest.fixture
def space(db):
    return VectorSpace.objects.create(
        encoder="default", encoder_id="test@1", recipe="1", dimension=3, status="active", activated_at=timezone.now()
    )


@pytest.fixture
def make_resource(db):
    def make(key, **fields):
        resource = Resource.objects.create(key=key, **{"title": f"Title of {key}", **fields})
        resource.refresh_from_db()
        return resource

    return make


@pytest.fixture
def embed(space):
    """Return a function that gives a resource a vector of its present text."""

    def store(resource, vector):
        unit = np.array(vector, dtype=np.float32) / np.linalg.norm(vector)
        return ResourceVector.objects.create(
            resource=resource, space=space, vector=unit, content_hash=resource.content_hash, text_hash="t"
        )

    return store
