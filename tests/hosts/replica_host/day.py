"""A day on this site, run by test_hosts.py: `manage.py shell -c "import tests.hosts.replica_host.day"`.

Outside a test case, because Django's test databases do not tell a replica from its server.
"""

import io
import json

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import InternalError
from django.test import Client

from llmrec_django import api
from llmrec_django.models import Interaction, LearnerProfile, Resource
from llmrec_django.types import InteractionInput
from tests.hosts.school.models import Course, Enrolment


def command(name, *arguments):
    out = io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=out)
    return out.getvalue()


try:
    Course.objects.using("replica").create(title="Nowhere")
except InternalError as error:
    assert "read-only" in str(error)  # noqa: PT017
else:
    raise AssertionError("the replica takes writes: this day proves nothing")

for title in ("Linear algebra", "Matrix algebra", "Portrait painting"):
    Course.objects.create(title=title)
ann = get_user_model().objects.create_user("ann")
bob = get_user_model().objects.create_user("bob")
Enrolment.objects.create(course=Course.objects.get(title="Linear algebra"), user=ann)
assert Resource.objects.count() == 3
assert Interaction.objects.count() == 1

command("llmrec_sync")
assert "Embedded 3 resources" in command("llmrec_embed")
command("llmrec_doctor")

client = Client()
client.force_login(ann)
page = client.get("/").content.decode()
assert page.index("Matrix algebra") < page.index("Portrait painting")
resource = Resource.objects.get(title="Portrait painting")
answer = client.post(
    "/api/v1/interactions/", {"verb": "viewed", "resource_key": resource.key}, content_type="application/json"
)
assert answer.status_code == 201, answer.content
answer = client.patch("/api/v1/profile/", {"goals": "to paint"}, content_type="application/json")
assert answer.status_code == 200, answer.content
assert client.get("/api/v1/profile/").json()["goals"] == "to paint"
assert client.post("/llmrec/events/", {"verb": "clicked", "key": resource.key}).status_code == 204
assert api.record(api.get_learner(bob), InteractionInput("viewed", resource.key))[1]
assert "1 profiles" in command("llmrec_embed")

Course.objects.get(title="Linear algebra").delete()
assert Resource.objects.count() == 2
assert json.loads(command("llmrec_export", "--user", "ann"))[0]["interactions"]
command("llmrec_forget", "--user", "ann")
assert LearnerProfile.objects.count() == 1
command("llmrec_prune")
assert client.delete("/api/v1/profile/").status_code in (200, 204)
bob.delete()
assert not LearnerProfile.objects.filter(user_id=bob.pk).exists()
print("A day has passed.")
