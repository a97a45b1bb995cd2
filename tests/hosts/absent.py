"""Running as if packages were not installed: they cannot be imported, and nothing finds them."""

from __future__ import annotations

import sys
from typing import Any


class _Without:
    """A finder that knows everything but the named packages, exactly as where they were never installed."""

    def __init__(self, finder: Any, absent: frozenset[str]) -> None:
        self.finder = finder
        self.absent = absent

    def find_spec(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in self.absent:
            return None
        find_spec = getattr(self.finder, "find_spec", None)
        return find_spec(name, *args, **kwargs) if find_spec else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def uninstall(*packages: str) -> None:
    """Hide top-level packages from every import that follows.

    Raises:
        RuntimeError: one is imported already, so that hiding it would prove nothing.
    """
    loaded = [package for package in packages if package in sys.modules]
    if loaded:
        raise RuntimeError(f"Cannot hide {', '.join(loaded)}: already imported. Hide packages first of all.")
    sys.meta_path[:] = [_Without(finder, frozenset(packages)) for finder in sys.meta_path]
