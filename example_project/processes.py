"""The campus's child processes: started with a log each, watched, and stopped in reverse order."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import psutil

from example_project.embedded import tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STOP_WITHIN_S = 10


class ChildFailedError(Exception):
    """A child process ended by itself; the message holds its last words and where its log is."""


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Children:
    """What one campus runs. A file remembers it, so that the next start can end what a killed one left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.record = folder / "processes.json"
        self.running: list[Child] = []
        self._lock: IO[str] | None = None

    def lock(self) -> bool:
        """Become the only campus on this folder; False if there is one already."""
        self.logs.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "campus.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def end_leftovers(self) -> int:
        """End the processes of a campus that was killed; return how many there were."""
        found = []
        for pid, created in self._recorded():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if abs(process.create_time() - created) < 1:  # Not another process under a used number.
                    found += [process, *process.children(recursive=True)]
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(found, timeout=STOP_WITHIN_S)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.record.unlink(missing_ok=True)
        return len(found)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                # A session of its own: Ctrl-C reaches the campus, which stops its children in order.
                start_new_session=True,
            )
        self.add(name, process, log)

    def add(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.running.append(Child(name, process, log))
        alive = [child.process.pid for child in self.running if child.process.poll() is None]
        self.record.write_text(json.dumps([[pid, psutil.Process(pid).create_time()] for pid in alive]))

    def check(self) -> None:
        """Raise ChildFailedError if a child has ended."""
        for child in self.running:
            code = child.process.poll()
            if code is not None:
                raise ChildFailedError(
                    f"The {child.name} process ended with code {code}. The end of {child.log}:\n{tail(child.log, 15)}"
                )

    def stop(self) -> None:
        """Stop all children, the last started first; ends those that do not stop in time."""
        while self.running:
            process = self.running.pop().process
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_WITHIN_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            # Its own children, if it left any.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        self.record.unlink(missing_ok=True)

    def _recorded(self) -> list[tuple[int, float]]:
        try:
            return [(int(pid), float(created)) for pid, created in json.loads(self.record.read_text())]
        except (OSError, ValueError, TypeError):
            return []


def wait_for(ready: object, children: Children, *, seconds: float, what: str) -> None:
    """Wait until `ready()` is true; raise ChildFailedError when a child ends or time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        children.check()
        if time.monotonic() > deadline:
            raise ChildFailedError(f"{what} is not ready after {seconds:.0f} s. The logs are in {children.logs}.")
        time.sleep(0.2)
