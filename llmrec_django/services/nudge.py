"""Telling the workers that something is pending, without ever making a save wait."""

from __future__ import annotations


def nudge_embedding() -> None:
    """Ask for pending resources to be embedded once the current transaction commits.

    Returns at once whatever the broker does; the sweep finds what a lost nudge would have announced.
    """
