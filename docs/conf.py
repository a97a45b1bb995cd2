"""Sphinx configuration: `sphinx-build -W docs docs/_build`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmrec_django import __version__

project = "llmrec_django"
copyright = "the llmrec_django team"  # noqa: A001
release = version = __version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "llmrec_django"

# Links may point at a heading of another page: install.md#databases
myst_heading_anchors = 3
# Code with "…" in it is code to read.
suppress_warnings = ["misc.highlighting_failure"]
