"""Runs every check of the project from a fresh clone: `python3 tests/run.py`.

Makes .venv and installs what is missing; then lint, types, layers, migrations and the tests. Arguments go to pytest
alone, without the other checks: `python3 tests/run.py tests/services -k similar`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Instead of this folder, whose modules have everyday names.
sys.path[0] = str(ROOT)

from example_project.bootstrap import BootstrapError, ensure_environment  # noqa: E402

# Not the documents: their snippets are written to be read.
CODE = ["llmrec_django", "example_project", "tests", "benchmarks", "manage.py"]
CHECKS = {
    "ruff": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "--quiet", *CODE],
    "mypy": ["mypy"],
    "import-linter": ["lint-imports"],
    "migrations": ["django-admin", "makemigrations", "--check", "--dry-run", "--settings", "tests.settings"],
    "campus migrations": [
        "django-admin", "makemigrations", "--check", "--dry-run", "--settings", "example_project.settings",
    ],
    "campus check": ["django-admin", "check", "--fail-level", "WARNING", "--settings", "example_project.settings"],
}  # fmt: skip
# One file's tests stay in one process: models and workers are loaded once a file.
PYTEST = ["pytest", "-q", "-n", "auto", "--dist", "loadfile"]


def run(name: str, python: Path, command: list[str]) -> bool:
    """Run a program of the environment; show what it says if it fails, the time it took if it does not."""
    began = time.monotonic()
    show = name == "pytest"
    done = subprocess.run(
        [str(python.parent / command[0]), *command[1:]],
        cwd=ROOT,
        # Each process of the tests has a core of its own: threads of theirs would wait for each other's.
        env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)},
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        text=True,
        check=False,
    )
    took = f"{time.monotonic() - began:.0f} s"
    if done.returncode:
        print(f"FAILED  {name} ({took})\n{done.stdout or ''}", flush=True)
    else:
        print(f"passed  {name} ({took})", flush=True)
    return done.returncode == 0


def main(arguments: list[str]) -> int:
    try:
        python = ensure_environment("dev")
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments:
        return 0 if run("pytest", python, ["pytest", *arguments]) else 1
    results = [run(name, python, command) for name, command in CHECKS.items()]
    results.append(run("pytest", python, PYTEST))
    return 0 if all(results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
