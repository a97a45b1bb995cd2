"""A host on another database than PostgreSQL, with this app's tables on an alias of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.hosts
def test_everything_follows_over_two_databases():
    folder = "tests/sources/separate_database"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            f"{folder}/check_separate.py",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
        ],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.sources.separate_database.settings"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
