"""Starts the campus from a fresh clone: `python3 example_project/start.py [--port 8000]`.

Makes .venv, installs what is missing, then becomes `manage.py campus`. Ctrl-C stops everything it started.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Instead of this folder, whose celery.py would hide the package.
sys.path[0] = str(ROOT)

from example_project.bootstrap import BootstrapError, ensure_environment  # noqa: E402

if __name__ == "__main__":
    try:
        python = ensure_environment("demo")
    except BootstrapError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    os.execv(python, [str(python), str(ROOT / "manage.py"), "campus", *sys.argv[1:]])  # noqa: S606
