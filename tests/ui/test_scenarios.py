"""One click opens data with something planted, chooses it, and the run says whether it is gone."""

import numpy as np
import pytest
from data.test_real_files import FOLDER

from pages.parts.sections import shown
from ui.conftest import App, server
from unlearn_core import data
from unlearn_core.data.files import missing
from unlearn_core.data.scenarios import SCENARIOS, scenario
from unlearn_core.runs import api
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import Store


def flat(features, *_):
    """A layout for tests that look at no map."""
    return np.zeros((len(features), 2), np.float32) + np.arange(len(features))[:, None]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """The app on a store with the original of the back door, and a run that retrained without it."""
    pipeline = Pipeline(Store(tmp_path_factory.mktemp("scenarios")), layout=flat)
    known = scenario("poisoned")
    original = pipeline.prepare(OriginalSpec.make(known.dataset, known.model, known.params), Reporter())
    spec = api.request(original, known.chosen(original.ids, original.meta["planted"]), "retrain", retrains=3)
    run = api.complete(pipeline, spec, Reporter())
    with server(pipeline.store.folder):
        yield original, run


def test_every_scenario_has_a_card(poisoned):
    app = App("overview")
    assert {f"scenario.{known.name}" for known in SCENARIOS} <= app.keys
    for known in SCENARIOS:
        assert known.title in app.texts() and known.shows in app.texts()


def test_one_click_opens_and_chooses(poisoned):
    original, _ = poisoned
    app = App("overview").press("scenario.poisoned")
    assert app.state.spec.key == original.key
    assert set(app.forget.ids) == set(original.meta["planted"]["poisoned"])
    assert set(app.forget.provenance) == {"scenario: A back door"}
    assert "Scenario: A back door" in app.texts() and "Attack success" in app.texts()


def test_what_a_person_changes_afterwards_stays(poisoned):
    app = App("overview").press("scenario.poisoned")
    some = sorted(app.forget.ids)[0]
    app.state.choose(app.forget.remove([some]))
    app.run()
    assert some not in app.forget and "Scenario" in app.texts()
    app.go("overview").press("scenario.poisoned")
    assert some in app.forget


def test_another_original_ends_the_scenario(poisoned):
    from unlearn_core.runs.demo import default_spec

    app = App("overview").press("scenario.poisoned")
    app.state.open(default_spec("wine"))
    app.run()
    assert not app.forget.ids and "Scenario:" not in app.texts()


def test_the_run_tells_that_the_back_door_is_shut(poisoned):
    original, run = poisoned
    measure = run.measure(scenario("poisoned").measure)
    assert measure.original > 0.9 > 0.1 > measure.unlearned and measure.verdict() == "like retrained"
    assert "Planted" in shown(run) and "Groups" not in shown(run)
    app = App("studio", run=run.key).set(section="Planted")
    for text in ("58 of 58 poisoned", "Success here", "Attack success", "The standard evidence on the same run"):
        assert text in app.texts()
    assert app.charts() > 0


def test_a_link_to_a_run_says_which_scenario_it_is(poisoned):
    _, run = poisoned
    app = App("studio", run=run.key)
    assert "Scenario: A back door" in app.texts() and "What it is about is chosen" in app.texts() and "scenario.choose" not in app.keys


def test_a_reload_keeps_the_banner_and_offers_the_instances_again(poisoned):
    original, _ = poisoned
    token = App("overview").press("scenario.poisoned").state.token
    app = App("studio", set=token)  # a new session
    assert "Scenario: A back door" in app.texts() and set(app.forget.ids) == set(original.meta["planted"]["poisoned"])
    app.press(f"remove.{app.forget.ids[0]}")
    app.run()  # all of the page, not only its fragment
    assert "What it is about is chosen" not in app.texts()
    app.press("scenario.choose")
    assert set(app.forget.ids) == set(original.meta["planted"]["poisoned"])


def test_the_sidebar_opens_scenarios_too(poisoned):
    original, _ = poisoned
    app = App("studio")
    assert "Scenario:" not in app.texts()
    for known in SCENARIOS:
        app.set(scenario__which=known.name)
        assert known.shows in app.texts()
    app.set(scenario__which="poisoned").press("scenario.start")
    assert app.state.spec.key == original.key and set(app.forget.provenance) == {"scenario: A back door"}


def test_where_nothing_is_planted_the_chosen_set_tells_the_scenario(poisoned):
    app = App("studio").set(scenario__which="random").press("scenario.start")
    assert len(app.forget) == 50 and "Scenario: Random deletion" in app.texts()  # its original is in the demo pack
    app.press("remove." + str(app.forget.ids[0]))
    app.state.choose(app.forget.remove(app.forget.ids))
    assert "Scenario:" not in app.run().texts()


def test_parts_that_know_of_nothing_planted_are_not_offered(runs):
    assert not {"Planted", "Groups"} & set(shown(runs["wine"]))


def test_groups_of_people_before_and_after(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_DATA_DIR", str(FOLDER))
    if missing(data.info("adult").files):
        pytest.skip(f"the files of adult are neither in {FOLDER} nor in the cache")
    pipeline, known = Pipeline(Store(tmp_path), layout=flat), scenario("biased")
    original = pipeline.prepare(OriginalSpec.make("adult", "softmax", known.params | {"subset": 400}), Reporter())
    spec = api.request(original, known.chosen(original.ids, original.meta["planted"]), "retrain", retrains=3)
    run = api.complete(pipeline, spec, Reporter())
    assert "Groups" in shown(run) and "Planted" not in shown(run)
    assert run.measure(known.measure).verdict()
    with server(tmp_path):
        app = App("studio", run=run.key).set(section="Groups")
        for text in ("80 of 80 biased", "Success here", "Gap in positive answers", "Gap in opportunity", "Sex, group by group"):
            assert text in app.texts()
        assert app.charts() > 3


def test_a_reload_while_the_original_is_trained_finds_the_scenario_again(tmp_path):
    with server(tmp_path) as handle:
        app = App("overview").press("scenario.user")
        spec = app.state.spec
        assert spec.dataset == "breast_cancer" and handle.store.job(spec.key).status == "queued"
        address = {name: app.address(name) for name in ("open", "scenario")}
        assert address == {"open": spec.key, "scenario": "user"} and app.address("set") is None
        app = App("studio", **address)  # a new session
        assert app.state.spec == spec and not app.forget.ids
        found = Pipeline(handle.store, layout=flat).prepare(spec, Reporter())
        handle.store.finish(spec.key, "done")
        app.run().run()
        assert set(app.forget.ids) == set(found.meta["planted"]["user"]) and "Scenario: One user's rows" in app.texts()
        assert app.address("set") and app.address("scenario") is None and app.address("open") is None


@pytest.mark.parametrize("key", ["nothing", "../..", "x" * 500, "0123456789abcdef"])
def test_an_address_that_names_no_original_opens_the_usual_one(poisoned, key):
    from unlearn_core.runs.demo import default_spec

    app = App("studio", open=key, scenario="no such")
    assert app.state.spec.key == default_spec().key and not app.state.scenario and app.address("open") is None
