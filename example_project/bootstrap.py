"""Makes .venv and installs llmrec_django with one of its extras, where that has not been done yet.

Standard library only: this runs on a bare Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOWEST_PYTHON = (3, 11)
# An extra on the left brings everything that those on the right do.
CONTAINS = {"dev": {"demo"}}


class BootstrapError(Exception):
    """The environment could not be made; the message says what to do."""


def ensure_environment(extra: str) -> Path:
    """Return the Python of .venv with `.[extra]` installed in the versions of constraints.txt.

    Takes no time when nothing changed since the last call.

    Raises:
        BootstrapError: this Python is too old, or something could not be installed.
    """
    if sys.version_info < LOWEST_PYTHON:
        wanted, found = ".".join(map(str, LOWEST_PYTHON)), ".".join(map(str, sys.version_info[:3]))
        raise BootstrapError(f"Python {wanted} or newer is needed, this is {found}. Run it with a newer one.")
    folder = Path(os.environ.get("LLMREC_VENV") or ROOT / ".venv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "llmrec-installed.json"
    wanted = _fingerprint()
    installed = _read(stamp)
    done = set(installed["extras"]) if python.exists() and installed["fingerprint"] == wanted else set()
    if extra in done or any(extra in CONTAINS.get(name, ()) for name in done):
        return python
    if not _has_pip(python):
        print(f"Making a virtual environment in {folder} …", flush=True)
        try:
            venv.create(folder, with_pip=True, clear=False)
        except subprocess.CalledProcessError as error:
            raise BootstrapError(
                f"Cannot make a virtual environment in {folder}: {error}. "
                "On Debian and Ubuntu, install the package python3-venv first."
            ) from error
    print("Installing packages, which takes some minutes the first time …", flush=True)
    began = time.monotonic()
    command = [
        str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--progress-bar=off",
        "--constraint", str(ROOT / "constraints.txt"), "--editable", f"{ROOT}[{extra}]",
    ]  # fmt: skip
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise BootstrapError(f"Cannot install the packages. To see more, run:\n  {' '.join(command)}")
    stamp.write_text(json.dumps({"fingerprint": wanted, "extras": sorted(done | {extra})}))
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
    return python


def _fingerprint() -> str:
    """Return what the installation depends on, as one digest."""
    digest = hashlib.sha256(sys.version.encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _read(stamp: Path) -> dict[str, list[str] | str]:
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return {"fingerprint": "", "extras": []}


def _has_pip(python: Path) -> bool:
    command = [str(python), "-m", "pip", "--version"]
    return python.exists() and not subprocess.run(command, capture_output=True, check=False).returncode
