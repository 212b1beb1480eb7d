"""The one handle that a server has on the store and the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.parts.remembering import remembered
from unlearn_core.runs import originals
from unlearn_core.runs.demo import open_demo
from unlearn_core.runs.originals import Original
from unlearn_core.runs.service import Service
from unlearn_core.runs.store import Store


@dataclass(frozen=True)
class Backend:
    store: Store
    service: Service


@st.cache_resource(show_spinner=False, on_release=lambda found: found.service.close())
def backend() -> Backend:
    """Opens the store, brings the demo pack in and starts the worker; once per server."""
    store = Store()
    open_demo(store)
    return Backend(store, Service(store))


@remembered(6)
def _original(folder: str, key: str, changed: int) -> Original | None:
    return originals.load(Store(Path(folder)), key)


def original(key: str) -> Original | None:
    """A stored original by key; None (and not remembered) while it is not there."""
    store = backend().store
    try:
        changed = (store.place("originals", key) / "table.npz").stat().st_mtime_ns
    except FileNotFoundError:
        return None
    return _original(str(store.folder), key, changed)
