"""One's own data: give a file, say what is what, see what becomes of it, keep it, delete it."""

from __future__ import annotations

from collections.abc import Callable

from pages.parts.importing import deleting, dialog
from pages.parts.importing.deleting import offer_deletion
from pages.parts.importing.dialog import begin
from pages.parts.importing.giving import HERE, MOST_MEGABYTES
from unlearn_core.data import own

__all__ = ["HERE", "MOST_MEGABYTES", "begin", "draw", "offer_deletion"]


def draw(keep: Callable[[own.Kept], None], leave: Callable[[str, str], None]) -> None:
    """The dialog that is open, if any. It is drawn again after every run of the page, since other parts of the page may ask for one.

    keep: what to do with data that is kept; leave: with the key of data that was deleted, and what was deleted with it.
    """
    dialog.draw(keep)
    deleting.draw(leave)
