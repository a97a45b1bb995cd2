"""Web processes of one site: they change to another version together, and none of them loads torch."""

import json
import os
import subprocess
import sys
import textwrap
from urllib.request import Request, urlopen

import pytest
from django.db import connection
from django.test import Client

from llmrec_django import api
from llmrec_django.models import RecommendationList
from llmrec_django.services import training, versions
from tests.django_app.test_training import make_activity, make_resources, mixed_sequences
from tests.subprocesses import ROOT
from tests.testapp.models import Member

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.model]

RELEVANCE = {"max_epochs": 20, "embedding_size": 16, "feature_size": 16, "hidden_size": 16, "layers": 1}
PROGRAM = """
    import json, sys
    from pathlib import Path
    from wsgiref.simple_server import WSGIRequestHandler, make_server
    from django.conf import settings

    database, folder = sys.argv[1:]
    settings.DATABASES["default"]["NAME"] = database
    settings.LLMREC = {"CELERY": False, "ARTIFACT_DIR": Path(folder)}
    from django.core.wsgi import get_wsgi_application

    site = get_wsgi_application()

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/loaded":
            return site(environ, start_response)
        start_response("200 OK", [])
        return [json.dumps(sorted(sys.modules)).encode()]

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            pass

    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
"""


@pytest.fixture
def start(settings, tmp_path):
    """Return a function that starts a web process on the test database and returns its address."""
    started = []

    def start():
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", textwrap.dedent(PROGRAM)),
                *(str(connection.settings_dict["NAME"]), str(tmp_path)),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def member(topics):
    """Somebody who has a history, among others."""
    resources = make_resources(topics)
    learner, *_ = make_activity(resources, mixed_sequences(120))
    member = Member.objects.create_user("ada@example.org")
    learner.user, learner.visitor_key = member, ""
    learner.save()
    return member


@pytest.fixture
def ask(member):
    """Return a function that asks a web process for the member's list."""
    client = Client()
    client.force_login(member)

    def ask(address):
        cookies = client.cookies.output(header="", sep=";", attrs=[])
        with urlopen(Request(f"{address}/api/v1/recommendations/?k=5", headers={"Cookie": cookies})) as answer:
            return json.load(answer)

    return ask


def keys(items):
    return [item["resource"]["key"] for item in items]


def test_all_answer_by_another_version_from_the_next_request_on(trains, member, start, ask):
    processes = [start(), start()]

    def answers():
        """Return the version that made each process's list, and check that it is this version's."""
        expected = [item.resource.key for item in api.recommend(api.get_learner(member), k=5)]
        made = []
        for address in processes:
            body = ask(address)
            assert keys(body["items"]) == expected
            made.append(RecommendationList.objects.get(pk=body["recommendation_id"]).version)
        return made, expected

    assert answers()[0] == [None, None]
    trains("popularity")
    first = training.train("default")
    made, by_first = answers()
    assert made == [first, first]
    trains("transitions")
    second = training.train("default")
    made, by_second = answers()
    assert made == [second, second]
    assert by_second != by_first
    versions.roll_back("default")
    assert answers() == ([first, first], by_first)
    versions.activate(second)
    assert answers() == ([second, second], by_second)


def test_a_relevance_model_serves_without_torch(trains, start, ask):
    trains("relevance", RELEVANCE=RELEVANCE)
    training.train("default")
    address = start()
    assert {item["source"] for item in ask(address)["items"]} == {"trained"}
    with urlopen(f"{address}/loaded") as answer:
        loaded = set(json.load(answer))
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "transformers"}
