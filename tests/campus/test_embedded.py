"""One embedded PostgreSQL for any number of processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from example_project.embedded import LONGEST_SOCKET_PATH, EmbeddedPostgres, EmbeddedServerError, socket_dir
from tests.campus.running import ROOT, ended, postmaster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER = """
import sys, time
from pathlib import Path
from example_project.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.acquire()
print("here", flush=True)
sys.stdin.readline()
server.release()
"""


class User:
    """Another process that uses the server until told to leave."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "here\n"

    def leave(self) -> None:
        self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0


@pytest.fixture
def users(tmp_path: Path) -> Iterator[list[User]]:
    started: list[User] = []
    yield started
    for user in started:
        if user.process.poll() is None:
            user.leave()


def answers(folder: Path) -> bool:
    import psycopg

    try:
        with psycopg.connect(host=str(socket_dir(folder)), user="postgres", dbname="postgres") as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def test_the_last_of_several_users_stops_the_server(tmp_path: Path, users: list[User]) -> None:
    first, second = User(tmp_path), User(tmp_path)
    users += [first, second]
    server = postmaster(tmp_path)
    first.leave()
    assert answers(tmp_path)
    second.leave()
    assert ended([server])


def test_a_folder_that_was_closed_to_the_server_does_not_keep_it_running(tmp_path: Path) -> None:
    parent = tmp_path / "closed"
    folder = parent / "data"
    folder.mkdir(parents=True)
    server = EmbeddedPostgres(folder)
    server.acquire()
    process = postmaster(folder)
    parent.chmod(0o700)
    server.release()
    assert ended([process])


def test_a_killed_user_does_not_keep_the_server_running(tmp_path: Path, users: list[User]) -> None:
    first, second = User(tmp_path), User(tmp_path)
    users += [first, second]
    server = postmaster(tmp_path)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second.leave()
    assert ended([server])


def test_a_server_that_was_killed_starts_again_with_its_data(tmp_path: Path) -> None:
    import psycopg

    server = EmbeddedPostgres(tmp_path)
    server.acquire()
    server.ensure_database("kept")
    process = postmaster(tmp_path)
    process.kill()
    assert ended([process])
    server.release()
    again = EmbeddedPostgres(tmp_path)
    again.acquire()
    try:
        with psycopg.connect(host=str(again.socket_dir), user="postgres", dbname="kept") as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("kept",)
    finally:
        again.release()


def test_a_process_id_that_a_crash_left_behind_does_not_stop_a_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.acquire()
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.release()
    # This test's own process has the number now.
    import os

    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server.acquire()
    try:
        assert answers(tmp_path)
    finally:
        server.release()


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("a long name " * 8) / "data"
    folder.mkdir(parents=True)
    server = EmbeddedPostgres(folder)
    assert len(str(server.socket_dir)) < LONGEST_SOCKET_PATH < len(str(folder))
    server.acquire()
    try:
        assert answers(folder)
    finally:
        server.release()
    assert not server.socket_dir.exists()


def test_only_the_owner_can_enter_the_folders_of_the_server(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    server.acquire()
    try:
        assert [path.stat().st_mode & 0o077 for path in (server.socket_dir, server.cluster)] == [0, 0]
    finally:
        server.release()


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, {"shared_buffers": "none"})
    with pytest.raises(EmbeddedServerError, match="shared_buffers"):
        server.acquire()
    again = EmbeddedPostgres(tmp_path)
    again.acquire()
    process = postmaster(tmp_path)
    again.release()
    # The failed start does not count as a user.
    assert ended([process])
