"""A campus started as its readers start it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
STARTS_WITHIN_S = 600
OTHERS = ("DATABASE_URL", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE", "CAMPUS_E5_URL")


def environment(folder: Path, encoder: str = "hashing") -> dict[str, str]:
    """Return the environment of a campus in `folder`, free of what this test run uses."""
    kept = {name: value for name, value in os.environ.items() if name not in OTHERS}
    return {**kept, "CAMPUS_DATA_DIR": str(folder), "LLMREC_ENCODER": encoder}


class Campus:
    """A running `manage.py campus` and what it said."""

    def __init__(self, folder: Path, *, encoder: str = "hashing", learners: int = 20) -> None:
        self.folder = folder
        self.output = folder / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(ROOT / "manage.py"),
                    "campus",
                    "--port",
                    str(free_port()),
                    "--learners",
                    str(learners),
                ],
                cwd=ROOT,
                env=environment(folder, encoder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def address(self) -> str:
        """Return where the campus is open, once it says so."""
        deadline = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < deadline:
            said = self.output.read_text()
            found = re.search(r"open at \S*?(http://[\d.:]+/)", said)
            if found:
                return found[1]
            assert self.process.poll() is None, f"the campus ended:\n{said}"
            time.sleep(0.2)
        raise AssertionError(f"the campus did not open in {STARTS_WITHIN_S} s:\n{self.output.read_text()}")

    def processes(self) -> list[psutil.Process]:
        """Return what runs for it: its children with theirs, and the database server."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [*children, postmaster(self.folder)]

    def stop(self, number: int = signal.SIGINT) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def assert_ended(self, processes: list[psutil.Process], within_s: float = 10) -> None:
        """Fail with what the campus and its database said if one of the processes still runs."""
        left = psutil.wait_procs(processes, timeout=within_s)[1]
        if left:
            users = (self.folder / "postgres.users").stat().st_ino
            locks = [line for line in Path("/proc/locks").read_text().splitlines() if f":{users} " in line]
            log = (self.folder / "logs" / "postgres.log").read_text()
            raise AssertionError(
                f"still running: {left}\nexit code {self.process.returncode}, said:\n{self.output.read_text()}\n"
                f"users of the database: {locks}\nits log:\n{log[-2000:]}"
            )


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0]))


def ended(processes: list[psutil.Process], within_s: float = 10) -> bool:
    return psutil.wait_procs(processes, timeout=within_s)[1] == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
