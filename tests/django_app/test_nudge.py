"""A save never waits on a broker: nudges against brokers that refuse, and that accept and never answer."""

import socket
import threading
import time

import pytest
from celery import Celery, current_app
from django.db import transaction

from llmrec_django.models import Resource
from llmrec_django.services import nudge


@pytest.fixture
def broker():
    """Point the current Celery app at a broker address for one test."""
    before = current_app._get_current_object()
    apps = []

    def use(url):
        app = Celery("nudged", broker=url, set_as_current=True)
        apps.append(app)
        return app

    yield use
    before.set_current()
    for app in apps:
        app.close()


@pytest.fixture
def nudge_with(monkeypatch, settings):
    """Return a function that makes a nudger with a publish function of the test's."""
    settings.LLMREC = {"CELERY": True}
    monkeypatch.setattr(nudge, "COALESCE_S", 0.05)
    monkeypatch.setattr(nudge, "FIRST_PAUSE_S", 0.05)

    def make(publish):
        fresh = nudge.Nudger(publish)
        monkeypatch.setattr(nudge, "_nudger", fresh)
        return fresh

    return make


@pytest.fixture
def silent_port():
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []
        stopping = threading.Event()
        server.settimeout(0.1)

        def accept():
            while not stopping.is_set():
                try:
                    held.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        stopping.set()
        thread.join()
        for connection in held:
            connection.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_publishing_to_a_broker_that_refuses_returns_false(broker, scheme):
    broker(f"{scheme}://127.0.0.1:{free_port()}//")
    assert nudge.publish() is False


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_publishing_to_a_silent_broker_gives_up(broker, silent_port, scheme):
    broker(f"{scheme}://127.0.0.1:{silent_port}//")
    done = []
    thread = threading.Thread(target=lambda: done.append(nudge.publish()), daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert done == [False], "the publish hangs"


@pytest.mark.django_db(transaction=True)
def test_saves_go_on_while_a_publish_hangs(nudge_with):
    hanging, release = threading.Event(), threading.Event()

    def hang():
        hanging.set()
        return release.wait(30)

    nudge_with(hang)
    nudge.nudge_embedding()
    assert hanging.wait(10)
    for i in range(100):
        Resource.objects.create(key=f"r{i}", title="Saved")
        nudge.nudge_embedding()
    assert not release.is_set()
    release.set()


@pytest.mark.django_db(transaction=True)
def test_a_burst_becomes_one_message_and_a_later_save_another(nudge_with):
    sent = []
    nudge_with(lambda: sent.append(1) or True)
    with transaction.atomic():
        for _ in range(50):
            nudge.nudge_embedding()
        time.sleep(0.2)
        assert sent == [], "nothing is announced before commit"
    wait_for(lambda: len(sent) == 1)
    nudge.nudge_embedding()
    wait_for(lambda: len(sent) == 2)


@pytest.mark.django_db(transaction=True)
def test_a_rollback_announces_nothing(nudge_with):
    sent = []
    nudge_with(lambda: sent.append(1) or True)
    with transaction.atomic():
        nudge.nudge_embedding()
        transaction.set_rollback(True)
    time.sleep(0.3)
    assert sent == []


def test_a_lost_message_is_sent_again_when_the_broker_is_back(nudge_with):
    answers = [False, False, True]
    asked = []
    nudge_with(lambda: asked.append(1) or answers[len(asked) - 1]).wake()
    wait_for(lambda: len(asked) == 3)
    time.sleep(0.3)
    assert len(asked) == 3


def test_eager_mode_never_runs_the_encoder_in_this_process(broker):
    app = broker("redis://127.0.0.1:1/0")
    app.conf.task_always_eager = True
    assert nudge.publish() is True


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)
