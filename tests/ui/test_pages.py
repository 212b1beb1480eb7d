"""Every page starts on an empty store, and whatever the address says."""

import json

import pytest

from pages.parts.backend import original
from ui.conftest import App
from unlearn_core.data.forget import ForgetSet
from unlearn_core.runs.demo import default_spec, example_key


@pytest.mark.parametrize("name", ["overview", "studio", "runs"])
def test_pages_start_on_an_empty_store(empty, name):
    app = App(name)
    assert not app.at.exception
    assert app.texts()


def test_overview_shows_the_example_and_leads_to_it(empty):
    app = App()
    assert app.charts() >= 1
    opens = next(b for b in app.at.button if b.label == "Open the run shown below")
    opens.click()
    app.run()
    assert app.state.run == example_key()
    assert app.address("run") == example_key()
    assert "What changed" in app.texts()


def test_overview_leads_to_the_digits(empty):
    app = App()
    next(b for b in app.at.button if b.label == "Try it on handwritten digits").click()
    app.run()
    assert app.state.spec == default_spec()
    assert "Trustworthiness" in app.texts()


def test_the_run_in_the_address_is_on_screen(empty):
    app = App("studio", run=example_key())
    assert app.state.run == example_key()
    assert app.state.spec.dataset == "moons"
    assert len(app.forget) > 0
    assert set(app.forget.provenance) == {"reopened run"}
    assert "What changed" in app.texts()


def test_an_unknown_run_is_a_notice(empty):
    app = App("studio", run="0" * 20)
    assert "run" not in app.at.query_params
    assert app.state.run == ""
    assert "Trustworthiness" in app.texts()


BAD = [
    "../../etc/passwd",
    "..%2f..%2fetc",
    "/etc/passwd",
    "x" * 5000,
    "𝔘𝔫𝔦",
    "ключ",
    "0;DROP TABLE jobs",
    "\x00",
    "a b",
    "-",
    "²",
    "٣" * 20,
    "a" * 65,
]


@pytest.mark.parametrize("word", BAD, ids=range(len(BAD)))
def test_bad_words_in_the_address_are_harmless(empty, word):
    before = sorted(p.name for p in empty.store.folder.iterdir())
    for name in ("overview", "studio", "runs"):
        app = App(name, run=word, set=word)
    assert app.go("studio").state.run == ""
    assert sorted(p.name for p in empty.store.folder.iterdir()) == before


def test_the_token_restores_the_selection(empty):
    app = App("studio")
    app.set(random__count=4).press("random.add")
    token = app.address("set")
    again = App("studio", set=token)
    assert again.forget == app.forget
    assert again.state.token == token


def test_the_token_restores_another_dataset_too(empty):
    spec = default_spec("wine")
    wine = original(spec.key)
    ids = wine.ids[:3].tolist()
    text = ForgetSet().add(ids, "typed").to_json("wine", wine.meta["dataset_hash"])
    empty.store.save_forget_set("abcd1234", spec.key, "", text)
    app = App("studio", set="abcd1234")
    assert app.state.spec == spec
    assert list(app.forget.ids) == ids


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"dataset": "digits", "instances": [{"id": 10**9}]})])
def test_a_damaged_draft_is_harmless(empty, content):
    empty.store.save_forget_set("feed", default_spec().key, "", content)
    app = App("studio", set="feed")
    assert not app.at.exception
    assert app.state.spec == default_spec()


def test_the_selection_survives_the_other_pages(empty):
    app = App("studio").set(random__count=3).press("random.add")
    chosen = app.forget
    app.go("runs").go("studio")
    assert app.forget == chosen
    assert app.address("set") == app.state.token
