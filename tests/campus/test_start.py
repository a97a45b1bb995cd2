"""Starting and stopping the whole campus."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.campus.running import ROOT, Campus, ended, environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.worker


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_stopping_leaves_nothing_running(tmp_path: Path, number: int) -> None:
    campus = Campus(tmp_path)
    address = campus.address()
    with urllib.request.urlopen(address) as page:
        assert page.status == 200
    processes = campus.processes()
    assert {"redis-server", "postgres"} <= {process.name() for process in processes}
    campus.stop(number)
    assert campus.process.returncode == 0
    campus.assert_ended(processes)


def test_a_start_after_a_kill_ends_what_the_killed_one_left(tmp_path: Path) -> None:
    killed = Campus(tmp_path)
    killed.address()
    left = [process for process in killed.processes() if process.name() != "postgres"]
    killed.stop(signal.SIGKILL)
    assert all(process.is_running() for process in left)
    campus = Campus(tmp_path)
    try:
        campus.address()
        assert ended(left)
        processes = campus.processes()
    finally:
        campus.stop()
    campus.assert_ended(processes)


def test_a_second_start_on_the_same_folder_names_the_first(tmp_path: Path) -> None:
    campus = Campus(tmp_path)
    try:
        address = campus.address()
        second = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "campus"],
            cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert second.returncode != 0
        assert address in second.stderr
        with urllib.request.urlopen(address) as page:
            assert page.status == 200
    finally:
        campus.stop()


def test_a_worker_that_dies_ends_the_campus_with_its_log(tmp_path: Path) -> None:
    campus = Campus(tmp_path)
    campus.address()
    processes = campus.processes()
    worker = next(
        process for process in processes if "worker" in process.cmdline() and process.ppid() == campus.process.pid
    )
    worker.kill()
    campus.process.wait(60)
    assert campus.process.returncode == 1
    assert str(tmp_path / "logs" / "worker.log") in campus.output.read_text()
    campus.assert_ended(processes)


def test_two_campuses_run_side_by_side(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    campuses = []
    try:
        for folder in folders:
            folder.mkdir()
            campuses.append(Campus(folder))
        addresses = {campus.address() for campus in campuses}
        assert len(addresses) == 2
        assert len({process.pid for campus in campuses for process in campus.processes()}) >= 8
    finally:
        for campus in campuses:
            campus.stop()


@pytest.mark.parametrize("arguments", [["--help"], ["migrate", "--help"], ["check"], []])
def test_commands_that_need_no_database_start_none(tmp_path: Path, arguments: list[str]) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, check=True,
    )  # fmt: skip
    assert not (tmp_path / "postgres").exists()


def test_a_command_starts_the_database_and_stops_it(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "shell", "-v0", "-c",
             "from django.db import connection as c; c.ensure_connection(); print(c.vendor)"],
            cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split()[0] == "postgresql"
        assert not (tmp_path / "postgres" / "postmaster.pid").exists()
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or [])
    ]
