"""What one browser session holds: one object under one key, and the few links that outlive it."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import streamlit as st

from pages.parts.backend import backend, original
from pages.parts.plain import plain
from unlearn_core import data, methods, models
from unlearn_core.data.forget import ForgetSet, read_forget_set
from unlearn_core.errors import BadInput
from unlearn_core.runs import api
from unlearn_core.runs.demo import default_spec
from unlearn_core.runs.spec import OriginalSpec, RunSpec
from unlearn_core.runs.store import MAX_KEY, Job

KEY = "studio"
UNDO_STEPS = 50
REOPENED = "reopened run"
ORIGINAL = "original"  # in the address, where the run on screen went on from another
OPEN, SCENARIO = "open", "scenario"  # in the address


@dataclass
class Studio:
    """spec: the original that is open. forget: the chosen set. run: key of the run on screen, if any.

    parent: key of the run whose model the next request goes on from, "" for the original.

    token: where the chosen set is kept in the store, so that a reload of the browser finds it again.
    scenario: name of the one that was opened while its instances are still to be chosen, since its original is being trained.
    notice: what to say when the Studio is drawn next; a toast would not outlive the change of page.
    """

    spec: OriginalSpec
    forget: ForgetSet = field(default_factory=ForgetSet)
    past: list[ForgetSet] = field(default_factory=list)
    token: str = ""
    run: str = ""
    notice: str = ""
    parent: str = ""
    scenario: str = ""
    _before: tuple[str, RunSpec | None] = ("", None)

    @property
    def before(self) -> RunSpec | None:
        """The request that the next one goes on from; None for the original. Read once: a key never means another request."""
        if self._before[0] != self.parent:
            self._before = self.parent, run_spec(self.parent) if self.parent else None
        return self._before[1]

    @property
    def gone(self) -> tuple[int, ...]:
        """Ids that earlier requests forgot, so that they cannot be chosen again."""
        return self.before.gone if self.before else ()

    def go_on(self, key: str) -> None:
        """Let the next request start from this run's model, or from the original (""), with nothing chosen yet."""
        self.parent = key
        self.past = []
        self._set(ForgetSet())
        self.tell_start()

    def tell_start(self) -> None:
        """Where the next request starts, into the address; nothing where the run on screen says it, since a reload then finds it."""
        shown = run_spec(self.run)
        said = shown.parent.key if shown and shown.parent else ""
        _address("from", "" if self.parent == said else self.parent or ORIGINAL)

    def choose(self, forget: ForgetSet) -> None:
        """Replace the chosen set, less what is gone; the one before can be brought back by `undo`."""
        left = forget.remove(self.gone)
        if len(left) < len(forget):
            st.toast(f"{len(forget) - len(left):,} of them were forgotten already and are left out.", icon=":material/block:")
        forget = left
        if forget == self.forget:
            return
        self.past = [*self.past[-UNDO_STEPS + 1 :], self.forget]
        self._set(forget)

    def undo(self) -> None:
        if self.past:
            self._set(self.past.pop().remove(self.gone))

    def open(self, spec: OriginalSpec) -> None:
        """Switch to another original; ids mean something else there, so the chosen set starts anew and the old one is kept."""
        if spec.key != self.spec.key:
            self._keep()
            self.spec, self.forget, self.past, self.token, self.run, self.parent, self.scenario = spec, ForgetSet(), [], "", "", "", ""
            st.query_params.clear()

    def show(self, key: str) -> None:
        """Put a run on screen and into the address, so that a reload or a link opens it."""
        self.run = key
        _address("run", key)

    def switch_to(self, key: str) -> bool:
        """Put a run on screen with its instances chosen, on its own original; False, and nothing changes, if there is no such run."""
        spec = run_spec(key)
        if spec is None:
            return False
        elsewhere, chosen = spec.original.key != self.spec.key, ForgetSet().add(spec.forget, REOPENED)
        if elsewhere:
            self.open(spec.original)
        self.parent = spec.parent.key if spec.parent else ""
        if elsewhere:
            self.forget = chosen
        elif set(spec.forget) != set(self.forget.ids):
            self.choose(chosen)
        self.run = key
        return True

    def _set(self, forget: ForgetSet) -> None:
        self.forget = forget
        opened = original(self.spec.key)
        if opened is None:
            return
        self.token = self.token or secrets.token_hex(8)
        backend().store.save_forget_set(self.token, self.spec.key, "", forget.to_json(self.spec.dataset, opened.meta["dataset_hash"]))
        st.query_params["set"] = self.token

    def _keep(self) -> None:
        """Save the chosen set under a name, unless it is empty, saved already or that of the run on screen."""
        opened, shown = original(self.spec.key), run_spec(self.run)
        if opened is None or not self.forget or (shown and set(shown.forget) == set(self.forget.ids)):
            return
        store, name = backend().store, f"Selection of {_now()}"
        about = self.spec.dataset, opened.meta["dataset_hash"]
        if all(row["content"] != self.forget.to_json(*about) for row in store.forget_sets(self.spec.key)):
            store.save_forget_set(secrets.token_hex(8), self.spec.key, name, self.forget.named(name).to_json(*about))
            self.notice = (
                f"What was chosen ({len(self.forget):,}) is kept as “{name}” among the saved sets of {plain(opened.meta['title'])}."
            )


def _address(name: str, value: str) -> None:
    if not value:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != value:
        st.query_params[name] = value


def _now() -> str:
    """The time of day where the browser is."""
    ahead = st.context.timezone_offset  # minutes; None without a browser
    now = datetime.now(None if ahead is None else timezone(timedelta(minutes=-ahead)))
    return f"{now.day} {now:%b %H:%M}"


def studio() -> Studio:
    """The session's state; a new session is rebuilt from the address: ?run=KEY, ?set=TOKEN, and while there is neither ?open=KEY, ?scenario=NAME."""
    if KEY not in st.session_state:
        st.session_state[KEY] = _from_address()
    found: Studio = st.session_state[KEY]
    if found.parent and not _ended_well(found.parent):  # deleted meanwhile
        found.parent = ""
    for name, value in (("run", found.run), ("set", found.token)):  # other pages drop what the address held
        if value:
            _address(name, value)
    _address(OPEN, "" if found.run or found.token or found.spec.key == default_spec().key else found.spec.key)
    _address(SCENARIO, found.scenario)
    found.tell_start()
    if found.notice:
        st.toast(found.notice, icon=":material/bookmark:")
        found.notice = ""
    return found


def reopen(key: str) -> Studio | None:
    """The state in which a stored or running run is on screen; None if there is no such run."""
    spec = run_spec(key)
    if spec is None:
        return None
    return Studio(spec.original, ForgetSet().add(spec.forget, REOPENED), run=key, parent=spec.parent.key if spec.parent else "")


def run_spec(key: str) -> RunSpec | None:
    """What a run was asked to do; None if there is no such run, or none that this version understands."""
    job = backend().store.job(key) if key.isalnum() else None
    return readable(job) if job and job.kind in ("run", "evidence") else None


def _ended_well(key: str) -> bool:
    """Whether there is a run with a model that another request can go on from."""
    return run_spec(key) is not None and (backend().store.place("runs", key) / "evidence.npz").exists()


def readable(job: Job) -> RunSpec | None:
    """The spec of a run's job; None if another version made it and this one lacks what it names."""
    spec = api.spec_of(job)
    if spec is None:
        return None
    try:
        for known, name in ((methods, spec.method), (data, spec.original.dataset), (models, spec.original.model)):
            known.info(name)
    except BadInput:
        return None
    return spec


def no_run() -> None:
    """Say that a run is not there."""
    st.toast(
        "There is no run at this address here. It may have been deleted, or made on another machine or by another version.",
        icon=":material/link_off:",
    )


def _from_address() -> Studio:
    store, state = backend().store, Studio(default_spec())
    if run := st.query_params.get("run"):
        if opened := reopen(run):
            state = opened
        else:
            no_run()
            st.query_params.pop("run", None)
    elif spec := _spec_of(st.query_params.get(OPEN, "")):
        state = Studio(spec, scenario=st.query_params.get(SCENARIO, ""))
    token = st.query_params.get("set")
    kept = store.forget_set(token) if token and token.isalnum() else None
    if kept and (not state.run or kept["original"] == state.spec.key):
        spec = state.spec if state.run else _spec_of(kept["original"])
        opened = original(spec.key) if spec else None
        if opened:
            with suppress(BadInput):  # a draft that does not fit what is stored now is left alone
                forget = read_forget_set(kept["content"].encode(), spec.dataset, opened.meta["dataset_hash"])
                if opened.row_of.keys() >= set(forget.ids):
                    state = Studio(spec, forget, token=token, run=state.run, parent=state.parent)
    start = st.query_params.get("from", "")
    if start == ORIGINAL:
        state.parent = ""
    elif _ended_well(start) and run_spec(start).original.key == state.spec.key:
        state.parent = start
    state.forget = state.forget.remove(state.gone)
    return state


def _spec_of(key: str) -> OriginalSpec | None:
    """The spec of an original that is stored or asked for; None if there is none, or none that this version understands."""
    if not key.isalnum() or len(key) > MAX_KEY:
        return None
    if found := original(key):
        return found.spec
    job = backend().store.job(key)
    if job is None or job.kind != "original":
        return None
    with suppress(BadInput, KeyError, TypeError):  # of another version
        spec = OriginalSpec.from_dict(job.spec)
        data.info(spec.dataset), models.info(spec.model)
        return spec
    return None
