"""What an examination says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Status
    found: str
    todo: str = ""
    """What to do; "" when nothing needs doing."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def warn(name: str, found: str, todo: str) -> Finding:
    return Finding(name, "warn", found, todo)


def fail(name: str, found: str, todo: str) -> Finding:
    return Finding(name, "fail", found, todo)
