"""Going on from an unlearned model: what can be chosen, what is asked, what is shown."""

import pytest

from pages.parts import mapping
from pages.parts.backend import original
from ui.conftest import App, server
from unlearn_core import run
from unlearn_core.runs import api
from unlearn_core.runs.store import Store


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The app on a store with a request of 8, one of 5 that goes on from it, and one of 4 by itself."""
    store = Store(tmp_path_factory.mktemp("requests"))
    given = {
        "dataset": "wine",
        "model": "softmax",
        "method": "finetune",
        "params": {"epochs": 1},
        "retrains": 3,
        "device": "cpu",
        "store": store,
    }
    first = run(forget="random:8", **given)
    runs = {"first": first, "second": run(forget="random:5", parent=first, **given), "other": run(forget="random:4", **given | {"seed": 0})}
    with server(store.folder) as app:
        yield store, runs, app


def studio(found):
    return App("studio", run=found.key)


def test_going_on_starts_with_nothing_chosen_and_without_what_is_gone(chain):
    _, runs, _ = chain
    gone = list(runs["first"].spec.forget)
    app = studio(runs["first"]).press("go_on")
    assert app.state.parent == runs["first"].key == app.address("from") and not len(app.forget)
    assert "Request 2" in app.texts()
    left = [i for i in original(app.state.spec.key).ids.tolist() if i not in gone]
    app.choose(f"{left[0]}, {left[1]}")
    assert app.forget.ids == (left[0], left[1])
    app.choose(f"{gone[0]}")
    assert app.forget.ids == (left[0], left[1]) and "forgotten already" in app.texts()
    app.set(way="Random").set(random__count=30).press("random.add")
    assert not set(app.forget.ids) & set(gone) and len(app.forget) >= 30


def test_the_request_goes_on_from_that_model(chain):
    store, runs, _ = chain
    app = studio(runs["first"]).press("go_on")
    app.choose(str(next(i for i in original(app.state.spec.key).ids.tolist() if i not in runs["first"].spec.gone))).press("unlearn")
    asked = api.RunSpec.from_dict(store.job(app.state.run).spec)
    assert asked.parent == runs["first"].spec and len(asked.gone) == 9


def test_one_can_return_to_the_original(chain):
    _, runs, _ = chain
    app = studio(runs["first"]).press("go_on").press("from.original")
    assert not app.state.parent and not app.address("from") and "Request 2" not in app.texts()


def test_a_link_finds_where_a_request_went_on(chain):
    _, runs, _ = chain
    app = App("studio", **{"run": runs["first"].key, "from": runs["first"].key})
    assert app.state.parent == runs["first"].key and not len(app.forget)
    assert studio(runs["second"]).state.parent == runs["first"].key


def test_a_reload_finds_where_a_request_starts_whatever_was_on_screen_before(chain):
    _, runs, _ = chain
    app = studio(runs["first"]).press("go_on")
    for name, start in (("second", runs["first"].key), ("first", "")):
        app.state.switch_to(runs[name].key)
        app.run()
        again = App("studio", **{at: app.address(at) for at in ("run", "from", "set") if app.address(at)})
        assert again.state.parent == app.state.parent == start
        assert again.forget.ids == app.forget.ids == runs[name].spec.forget
    app = studio(runs["second"]).press("from.original")
    app.choose(str(runs["first"].spec.forget[0]))
    again = App("studio", **{at: app.address(at) for at in ("run", "from", "set")})
    assert not again.state.parent and again.forget.ids == runs["first"].spec.forget[:1]


def test_undo_brings_nothing_back_that_is_gone(chain):
    _, runs, _ = chain
    app = studio(runs["first"])
    app.state.switch_to(runs["second"].key)
    app.run()
    app.state.undo()
    assert not set(app.forget.ids) & set(runs["first"].spec.gone)


def test_an_address_that_leads_to_no_model_starts_from_the_original(chain):
    from dataclasses import replace

    store, runs, _ = chain
    failed = replace(runs["first"].spec, seed=99)
    store.record(failed.key, "run", failed.to_dict())
    for key in (failed.key, "nothing", "../..", "é"):
        assert not App("studio", **{"run": runs["first"].key, "from": key}).state.parent


def test_the_course_of_requests_is_shown_where_there_are_several(chain):
    _, runs, _ = chain
    app = studio(runs["second"]).set(section="Requests")
    assert "2 requests" in app.texts() and "13 instances" in app.texts() and app.charts() >= 4
    assert "This was request 2" in app.texts()
    app.state.switch_to(runs["other"].key)
    app.run()
    assert "Requests" not in app.widget("section").options and app.widget("section").value == "Utility"


def test_what_is_gone_is_set_apart_on_the_map(chain):
    _, runs, _ = chain
    app = studio(runs["second"])
    found, gone = original(app.state.spec.key), runs["first"].spec.gone
    points = mapping.points(found, found.layouts[0], "class", app.forget, gone)
    marked = points.ids[points.category == points.names.index("forgotten earlier")]
    assert sorted(marked.tolist()) == list(gone)
    hollow = mapping.points(found, found.layouts[0], "loss", app.forget, gone)
    assert sorted(hollow.ids[hollow.value != hollow.value].tolist()) == list(gone)


def test_deleting_an_earlier_request_is_refused_and_both_together_work(chain):
    store, runs, _ = chain
    with pytest.raises(api.BadInput):
        api.delete_run(store, runs["first"].key)
    app = App("runs")
    assert "request" in app.at.dataframe[0].value.columns
    assert app.at.dataframe[0].value.set_index("key").loc[runs["second"].key, "request"] == 2


def test_a_goal_that_is_not_what_was_asked_for_is_said(chain):
    _, runs, _ = chain
    app = studio(runs["other"])
    assert "You want the points" not in app.texts()
    app.set(aim="misclassify")
    assert "You want the points answered wrongly" in app.texts()
