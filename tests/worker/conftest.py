import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celery import Celery, current_app

from example_project.embedded import redis_server
from llmrec_django.services import nudge

LLMREC = {
    "ENCODERS": {"default": {"BACKEND": "llmrec_django.testing.HashingEncoder", "OPTIONS": {}}},
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


class Broker:
    """A real Redis server on a loopback port, to be stopped and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        arguments = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([redis_server(), *arguments], stdout=subprocess.DEVNULL)
        wait_for(self._answers)

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@pytest.fixture
def broker(tmp_path, monkeypatch):
    """A running broker, and a Celery app of this process that publishes to it."""
    server = Broker(tmp_path)
    server.start()
    before = current_app._get_current_object()
    app = Celery("web", broker=server.url, set_as_current=True)
    monkeypatch.setattr(nudge, "_nudger", nudge.Nudger())
    monkeypatch.setattr(nudge, "FIRST_PAUSE_S", 0.3)
    monkeypatch.setattr(nudge, "LONGEST_PAUSE_S", 1.0)
    yield server
    before.set_current()
    app.close()
    server.stop()


@pytest.fixture
def start_worker(broker, tmp_path, transactional_db, settings):
    """Return a function that starts a Celery worker with beat on the test database."""
    settings.LLMREC = LLMREC
    started = []

    def start(
        encoder="llmrec_django.testing.HashingEncoder",
        name="default",
        queues="llmrec.embed,llmrec.train,llmrec.default",
    ):
        log = (tmp_path / f"worker{len(started)}.log").open("wb")
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.worker.settings",
            "LLMREC_WORKER_DB": settings.DATABASES["default"]["NAME"],
            "LLMREC_WORKER_BROKER": broker.url,
            "LLMREC_WORKER_ENCODER": encoder,
            "LLMREC_WORKER_ENCODER_NAME": name,
            "LLMREC_WORKER_ARTIFACTS": str(tmp_path / "artifacts"),
        }
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "tests.worker.celery_app", "worker", "-P", "solo", "-B"),
                *("-Q", queues, "-s", str(tmp_path / f"beat{len(started)}"), "-l", "INFO"),
                *("--without-gossip", "--without-mingle"),
            ],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append((process, log))
        return process

    yield start
    for process, log in started:
        kill(process, signal.SIGTERM)
        log.close()
        if os.environ.get("LLMREC_SHOW_WORKER"):
            print(Path(log.name).read_text())


def kill(process, number=signal.SIGKILL):
    """End a worker and its beat, which are a process group of their own."""
    if process.poll() is None:
        os.killpg(process.pid, number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
