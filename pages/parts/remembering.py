"""What pages remember of stored results, for all sessions of a server, and how to forget it when some are deleted for good."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

_forget: list[Callable[[], None]] = []  # what empties each memory


def remembered(entries: int, cache: Callable = st.cache_resource) -> Callable[[Callable], Callable]:
    """Keep what a function gives until `entries` later ones came, or `forget` is called."""

    def keep(function: Callable) -> Callable:
        found = cache(max_entries=entries, show_spinner=False)(function)
        forgotten_by(found.clear)
        return found

    return keep


def forgotten_by(clear: Callable[[], None]) -> None:
    """Let `clear` be called by `forget`, for a memory of another kind."""
    _forget.append(clear)


def forget() -> None:
    """Empty every memory; what is still stored is read again when it is needed."""
    for clear in _forget:
        clear()
