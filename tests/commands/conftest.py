import gzip
import json

import pytest


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file from text, bytes or (for JSON lines) a list of objects."""

    def write_file(name, content):
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return write_file
