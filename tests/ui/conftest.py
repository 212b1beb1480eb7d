"""Fixtures for the pages without a browser: a stocked store, and Streamlit's AppTest around app.py."""

from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import backend as backends
from pages.parts import state as states
from unlearn_core.runs import demo
from unlearn_core.runs.service import Service
from unlearn_core.runs.store import Store

ROOT = Path(__file__).resolve().parents[2]


class Idle(Service):
    """A handle without a worker: what these tests look at is computed before."""

    def __init__(self, store):
        self.store = store

    def devices(self, patience=0.0):
        return {"cpu": "test"}

    def close(self):
        pass


@contextmanager
def server(folder, service=Idle):
    """The app's one handle, on this folder. A worker that it starts is ended with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLEARN_STORE", str(folder))
        patch.setattr(backends, "Service", service)
        backends.backend.clear()
        try:
            yield backends.backend()
        finally:
            backends.backend().service.close()
            backends.backend.clear()
            backends._original.clear()


class App:
    """One browser session, in a test's words."""

    def __init__(self, page="overview", **address):
        self.at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
        # AppTest knows the other pages only after a run; with the state gone, what follows is a first visit.
        del self.at.session_state[states.KEY]
        self.go(page, **address)

    def go(self, page, **address):
        self.at.switch_page(f"pages/{page}.py")
        for name, value in address.items():
            self.at.query_params[name] = value
        return self.run()

    def run(self):
        self.at.run()
        assert not self.at.exception, self.at.exception[0].value
        return self

    @property
    def state(self) -> states.Studio:
        return self.at.session_state[states.KEY]

    @property
    def forget(self):
        return self.state.forget

    def set(self, **values):
        """Give widgets, named by key with __ for a dot, new values and run once."""
        for key, value in values.items():
            self.widget(key.replace("__", ".")).set_value(value)
        return self.run()

    def widget(self, key):
        return next(w for w in self.widgets() if w.key == key)

    def widgets(self):
        kinds = (
            "button",
            "selectbox",
            "multiselect",
            "number_input",
            "toggle",
            "slider",
            "button_group",
            "text_input",
            "file_uploader",
            "pagination",
        )
        return [w for kind in kinds for w in getattr(self.at, kind)]

    @property
    def keys(self):
        """Keys of all widgets that are drawn."""
        return {w.key for w in self.widgets() if w.key}

    def press(self, key):
        self.widget(key).click()
        return self.run()

    def choose(self, ids):
        """Choose instances by typing their ids."""
        self.set(way="Ids").set(typed__ids=ids)
        return self.press("typed.add")

    def address(self, name):
        found = self.at.query_params.get(name)
        return found[0] if isinstance(found, list) else found

    def texts(self):
        kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error")
        return "\n".join(str(e.value) for kind in kinds for e in getattr(self.at, kind))

    def html(self):
        return [str(found.proto.body) for found in self.at.get("html")]

    def charts(self):
        return len(self.at.get("plotly_chart"))


@pytest.fixture(scope="session")
def stocked(tmp_path_factory):
    """A store with the demo pack and four runs; returns the store and the runs by name."""
    from unlearn_core import run

    store = Store(tmp_path_factory.mktemp("stocked"))
    demo.open_demo(store)
    wine = demo_ids(store, "wine")
    digits = demo_ids(store, "digits")
    runs = {
        "wine": run("wine", wine[:8], "nabla_tau", retrains=3, device="cpu", store=store),
        "bare": run("wine", wine[:8], "finetune", retrains=0, device="cpu", store=store),
        "three": run("wine", wine[20:23], "neggrad_plus", retrains=3, device="cpu", store=store),
        "digits": run("digits", digits[:20], "nabla_tau", retrains=3, params={"passes": 1}, device="cpu", store=store),
    }
    return store, runs | {"moons": demo.example_key() and _stored(store, demo.example_key())}


def demo_ids(store, dataset):
    from unlearn_core.runs import originals

    return originals.load(store, demo.default_spec(dataset).key).ids.tolist()


def _stored(store, key):
    from unlearn_core.runs.api import load_run

    return load_run(store, key)


@pytest.fixture(scope="module")
def runs(stocked):
    """The stocked runs, and the app on their store."""
    store, found = stocked
    with server(store.folder):
        yield found


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The app on a store that was empty until it started."""
    with server(tmp_path_factory.mktemp("empty")) as handle:
        yield handle
