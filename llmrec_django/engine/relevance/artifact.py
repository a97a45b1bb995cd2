"""The folder a trained relevance model lives in: what is in it, and proof that it is what was written."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_django.exceptions import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = 2
"""Version of the folder's layout; a reader refuses any other."""
MANIFEST = "relevance.json"
GRAPH = "learner.onnx"
"""S(u) without E(u), as it is and without parts of the history."""
TENSORS = "model.safetensors"
"""All weights, the whitening, and what the caller put beside them."""


@contextmanager
def written_at_once(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block ends well, and vanishes otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    scratch.chmod(0o755)  # another account may run the web server
    replaced = scratch.with_name(f"{scratch.name}.replaced")
    try:
        yield scratch
        if folder.exists():
            folder.rename(replaced)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_manifest(folder: Path, content: Mapping[str, Any]) -> str:
    """Describe the files of a folder in its manifest.

    Returns:
        SHA-256 of the manifest. As it holds the digest of every file, it vouches for the whole folder.
    """
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    text = json.dumps({"format": FORMAT, **content, "files": files}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path, digest: str = "") -> dict[str, Any]:
    """Read the manifest and check every file it names.

    Args:
        folder: As written by `export_model`.
        digest: What `export_model` returned; "" trusts the manifest as it is.

    Raises:
        ArtifactError: a file is missing or is not what was written, or the format is another.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        found, files = manifest["format"], dict(manifest["files"])
    except OSError as exc:
        raise _refusal(folder, f"{exc.strerror or exc}: {MANIFEST}.") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise _refusal(folder, f"{MANIFEST} is damaged.") from exc
    if found != FORMAT:
        raise _refusal(folder, f"Its format is {found!r}, this version reads {FORMAT}.")
    if digest and hashlib.sha256(text.encode()).hexdigest() != digest:
        raise _refusal(folder, f"{MANIFEST} is not what was written.")
    for name, expected in files.items():
        try:
            actual = file_digest(folder / name)
        except OSError as exc:
            raise _refusal(folder, f"{exc.strerror or exc}: {name}.") from exc
        if actual != expected:
            raise _refusal(folder, f"{name} is not what was written.")
    return dict(manifest)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refusal(folder: Path, found: str) -> ArtifactError:
    return ArtifactError(f"Cannot load relevance model {str(folder)!r}. {found} Train again or roll back.")
