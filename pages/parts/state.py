"""What one browser session holds: one object under one key, and the few links that outlive it."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field

import streamlit as st

from pages.parts.backend import backend, original
from unlearn_core.data.forget import ForgetSet, read_forget_set
from unlearn_core.errors import BadInput
from unlearn_core.runs import api
from unlearn_core.runs.demo import default_spec
from unlearn_core.runs.spec import OriginalSpec

KEY = "studio"
UNDO_STEPS = 50


@dataclass
class Studio:
    """spec: the original that is open. forget: the chosen set. run: key of the run on screen, if any.

    token: where the chosen set is kept in the store, so that a reload of the browser finds it again.
    """

    spec: OriginalSpec
    forget: ForgetSet = field(default_factory=ForgetSet)
    past: list[ForgetSet] = field(default_factory=list)
    token: str = ""
    run: str = ""

    def choose(self, forget: ForgetSet) -> None:
        """Replace the chosen set; the one before can be brought back by `undo`."""
        if forget == self.forget:
            return
        self.past = [*self.past[-UNDO_STEPS + 1 :], self.forget]
        self._set(forget)

    def undo(self) -> None:
        if self.past:
            self._set(self.past.pop())

    def open(self, spec: OriginalSpec) -> None:
        """Switch to another original; ids mean something else there, so the chosen set starts anew."""
        if spec.key != self.spec.key:
            self.spec, self.forget, self.past, self.token, self.run = spec, ForgetSet(), [], "", ""
            st.query_params.clear()

    def show(self, key: str) -> None:
        """Put a run on screen and into the address, so that a reload or a link opens it."""
        self.run = key
        if key:
            st.query_params["run"] = key
        else:
            st.query_params.pop("run", None)

    def _set(self, forget: ForgetSet) -> None:
        self.forget = forget
        self.token = self.token or secrets.token_hex(8)
        opened = original(self.spec.key)
        backend().store.save_forget_set(self.token, self.spec.key, "", forget.to_json(self.spec.dataset, opened.meta["dataset_hash"]))
        st.query_params["set"] = self.token


def studio() -> Studio:
    """The session's state; a new session is rebuilt from the address (?run=KEY, ?set=TOKEN)."""
    if KEY not in st.session_state:
        st.session_state[KEY] = _from_address()
    found: Studio = st.session_state[KEY]
    for name, value in (("run", found.run), ("set", found.token)):  # other pages drop what the address held
        if value and st.query_params.get(name) != value:
            st.query_params[name] = value
    return found


def reopen(key: str) -> Studio | None:
    """The state in which a stored or running run is on screen; None if there is no such run."""
    job = backend().store.job(key) if key.isalnum() else None
    if job is None or job.kind not in ("run", "evidence"):
        return None
    spec = api.RunSpec.from_dict(job.spec)
    return Studio(spec.original, ForgetSet().add(spec.forget, "reopened run"), run=key)


def _from_address() -> Studio:
    store, state = backend().store, Studio(default_spec())
    if run := st.query_params.get("run"):
        if opened := reopen(run):
            state = opened
        else:
            st.toast(f"There is no run {run[:24]} here. It may have been deleted, or made on another machine.", icon=":material/link_off:")
            st.query_params.pop("run", None)
    token = st.query_params.get("set")
    kept = store.forget_set(token) if token and token.isalnum() else None
    if kept and (not state.run or kept["original"] == state.spec.key):
        spec = state.spec if state.run else _spec_of(kept["original"])
        opened = original(spec.key) if spec else None
        if opened:
            with suppress(BadInput):  # a draft that does not fit what is stored now is left alone
                forget = read_forget_set(kept["content"].encode(), spec.dataset, opened.meta["dataset_hash"])
                if opened.row_of.keys() >= set(forget.ids):
                    state = Studio(spec, forget, token=token, run=state.run)
    return state


def _spec_of(key: str) -> OriginalSpec | None:
    found = original(key)
    return found.spec if found else None
