"""Running a program in a fresh Python of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

ROOT = Path(__file__).resolve().parent.parent


def run_python(program: str, *arguments: str, cwd: Path = ROOT, timeout_s: float = 300, **environment: str) -> str:
    """Run a program text and return what it printed; one that fails fails the test and shows all it said."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def database_url(entry: dict[str, Any]) -> str:
    """Return the DATABASE_URL that means a DATABASES entry."""
    places = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    options = {option: str(entry[key]) for option, key in places.items() if entry.get(key)}
    return f"postgres:///{quote(entry['NAME'])}?{urlencode(options)}"
