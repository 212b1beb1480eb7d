"""Every way to fill the forget set says how its instances were chosen, and nothing is lost by a mistake."""

import json

import numpy as np
import pytest

from pages.parts.backend import original
from pages.parts.picker import encode_ids
from ui.conftest import App
from unlearn_core.data.forget import ForgetSet, read_forget_set
from unlearn_core.runs.demo import default_spec


@pytest.fixture(scope="module")
def digits(empty):
    return original(default_spec().key)


@pytest.fixture
def app(empty, digits):
    return App("studio")


def moons():
    """A session with the two moons open."""
    app = App("studio").set(open__dataset="moons")
    next(b for b in app.at.button if b.label.startswith("Open ")).click()
    return app.run()


def test_random(app, digits):
    app.set(random__count=7, random__seed=3).press("random.add")
    assert len(app.forget) == 7
    assert set(app.forget.provenance) == {"random 7, seed 3"}
    assert set(app.forget.ids) <= set(digits.ids.tolist())
    first = app.forget
    app.press("random.add")
    assert app.forget == first


def test_class(app, digits):
    app.set(way="Class").set(class__names=["3"]).press("class.add")
    rows = digits.arrays["label"] == digits.meta["class_names"].index("3")
    assert set(app.forget.ids) == set(digits.ids[rows].tolist())
    assert set(app.forget.provenance) == {"class 3"}
    assert "forgets every training instance of class 3" in app.texts()


def test_neighbours(app, digits):
    first = int(digits.ids[0])
    app.choose(str(first)).set(way="Neighbours").set(near__count=3).press("near.add")
    wanted = digits.arrays["neighbours"][0][:3].tolist()
    assert list(app.forget.ids) == [first, *wanted]
    assert app.forget.provenance == ("typed", *[f"neighbours of {first}"] * 3)


def test_neighbours_need_an_instance_first(app):
    app.set(way="Neighbours")
    assert app.widget("near.add").disabled
    assert "Choose an instance first" in app.texts()


def test_query(app, digits):
    app.set(way="Query").set(query__outcome="correct", query__label=["8"], query__order="highest loss", query__most=5)
    app.press("query.add")
    a = digits.arrays
    rows = np.flatnonzero((a["label"] == a["predicted"]) & (a["label"] == 8))
    worst = digits.ids[rows[np.argsort(-a["loss"][rows], kind="stable")][:5]].tolist()
    assert list(app.forget.ids) == worst
    assert set(app.forget.provenance) == {"query: highest loss"}


def test_query_by_confidence_and_loss(app, digits):
    app.set(way="Query").set(query__confidence=(0.0, 0.9), query__loss=0.2, query__order="lowest confidence", query__most=400)
    a = digits.arrays
    wanted = digits.ids[(a["confidence"] <= 0.9 + 1e-6) & (a["loss"] >= 0.2)].tolist()
    button = app.widget("query.add")
    assert f"{len(wanted):,} found" in button.label
    if wanted:
        app.press("query.add")
        assert set(app.forget.ids) == set(wanted)
    app.set(query__loss=1000.0)
    assert app.widget("query.add").disabled


def test_ids(app, digits):
    a, b, c = digits.ids[[0, 5, 9]].tolist()
    app.choose(f"{c}, {a} {b}")
    assert list(app.forget.ids) == [c, a, b]
    assert set(app.forget.provenance) == {"typed"}


@pytest.mark.parametrize("text", ["three", "-1", "999999999", "5-2", "1e3", "0-99999999", "1" * 100])
def test_bad_ids_are_refused_in_one_sentence_and_the_selection_stays(app, digits, text):
    app.choose(str(digits.ids[0]))
    before = app.forget
    app.choose(text)
    assert app.forget == before
    assert len(app.at.error) == 1
    assert "ids" in app.at.error[0].value
    assert len(app.run().at.error) == 0


def test_forgetting_everything_is_refused(app, digits):
    app.choose(" ".join(map(str, digits.ids.tolist())))
    assert not app.forget
    assert len(app.at.error) == 1


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_file(app, digits, kind):
    given = ForgetSet(name="a request").add(digits.ids[:2].tolist(), "clicked").add(digits.ids[7:8].tolist(), "lasso")
    text = getattr(given, f"to_{kind}")("digits", digits.meta["dataset_hash"])
    app.set(way="File").set(file__upload=(f"set.{kind}", text.encode(), "text/plain")).press("file.add")
    assert app.forget == given


def test_a_large_file_is_taken_whole(app, digits):
    ids = digits.ids[:600].tolist()
    text = ForgetSet().add(ids, "clicked").to_csv("digits", digits.meta["dataset_hash"])
    app.set(way="File").set(file__upload=("set.csv", text.encode(), "text/csv")).press("file.add")
    assert list(app.forget.ids) == ids


REFUSED = {
    "other": ForgetSet().add([1], "typed").to_json("wine", "x"),
    "hash": ForgetSet().add([1], "typed").to_json("digits", "another"),
    "broken": "{",
    "columns": "a,b\n1,2\n",
    "nothing": "",
    "outside": json.dumps({"dataset": "digits", "instances": [{"id": 10**7}]}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_file_is_refused_once_and_the_selection_stays(app, digits, case):
    app.choose(str(digits.ids[0]))
    before = app.forget
    app.set(way="File").set(file__upload=("set.json", REFUSED[case].encode(), "application/json")).press("file.add")
    assert app.forget == before
    assert len(app.at.error) == 1
    assert "file" in app.at.error[0].value.lower()
    if case == "other":
        assert "wine" in app.at.error[0].value


def test_bytes_that_are_no_text_are_refused(app):
    app.set(way="File").set(file__upload=("set.csv", b"\xff\xfe\x00\x80", "text/csv")).press("file.add")
    assert len(app.at.error) == 1


def test_planted_only_where_something_was_planted(app):
    assert "Planted" not in app.widget("way").options
    app = moons()
    app.set(way="Planted").press("planted.mislabelled")
    found = original(app.state.spec.key)
    assert set(app.forget.ids) == set(found.meta["planted"]["mislabelled"])
    assert set(app.forget.provenance) == {"planted: mislabelled"}


def gestures(app, *ops, start=1):
    """What the browser sends after gestures on the map."""
    desk = app.at.session_state["picker:picker"]
    rows = [[start + i, op, how, encode_ids(ids)] for i, (op, how, ids) in enumerate(ops)]
    app.at.session_state["picker"] = {"ops": {"client": "c", "session": desk.session, "ops": rows}}
    return app.run()


def test_gestures_on_the_map(app, digits):
    a, b, c, d = digits.ids[:4].tolist()
    gestures(app, ("add", "click", [a]), ("add", "lasso", [b, c]), ("add", "box", [d]))
    assert app.forget.provenance == ("clicked", "lasso", "lasso", "box")
    gestures(app, ("remove", "click", [b]), start=4)
    assert list(app.forget.ids) == [a, c, d]
    gestures(app, ("undo", "keyboard", []), start=5)
    assert len(app.forget) == 4
    gestures(app, ("clear", "button", []), start=6)
    assert not app.forget
    gestures(app, ("undo", "button", []), start=7)
    assert len(app.forget) == 4


def test_undo_goes_back_step_by_step(app, digits):
    steps = [app.forget]
    for i in range(3):
        app.choose(str(digits.ids[i]))
        steps.append(app.forget)
    for wanted in reversed(steps[:-1]):
        app.state.undo()
        app.run()
        assert app.forget.ids == wanted.ids
    app.state.undo()
    assert not app.forget


def test_remove_buttons(app, digits):
    a, b = digits.ids[:2].tolist()
    app.choose(f"{a} {b}").press(f"remove.{a}")
    assert list(app.forget.ids) == [b]
    assert f"remove.{a}" not in app.keys


def test_the_gallery_turns_pages(app):
    app.set(random__count=45).press("random.add")
    shown = {key for key in app.keys if key.startswith("remove.")}
    assert len(shown) == 20
    app.set(gallery__page=3)
    last = {key for key in app.keys if key.startswith("remove.")}
    assert len(last) == 5
    assert not last & shown


def test_named_sets_are_saved_reopened_and_deleted(app, digits):
    a, b = digits.ids[:2].tolist()
    app.choose(f"{a} {b}").set(set__name="my request").press("set.save")
    assert app.forget.name == "my request"
    kept = app.forget
    gestures(app, ("clear", "button", []))
    assert not app.forget
    app.set(set__saved=app.widget("set.saved").value).press("set.open")
    assert app.forget.ids == kept.ids
    assert app.forget.provenance == kept.provenance
    assert app.forget.name == "my request"
    other = App("studio")
    assert "my request" in other.widget("set.saved").options
    other.press("set.delete")
    assert "set.saved" not in other.keys


def test_an_export_comes_back(app, digits):
    app.choose(" ".join(map(str, digits.ids[:3].tolist())))
    labels = [b.label for b in app.at.download_button]
    assert {"CSV", "JSON"} <= set(labels)
    for text in (app.forget.to_csv("digits", digits.meta["dataset_hash"]), app.forget.to_json("digits", digits.meta["dataset_hash"])):
        assert read_forget_set(text.encode(), "digits", digits.meta["dataset_hash"]) == app.forget


@pytest.mark.parametrize("colour", ["class", "predicted class", "correct or not", "loss", "confidence", "selected"])
@pytest.mark.parametrize("dataset", ["digits", "moons"])
def test_every_colour_draws_and_keeps_the_selection(empty, colour, dataset):
    app = App("studio") if dataset == "digits" else moons()
    app.set(random__count=2).press("random.add")
    before = app.forget
    app.set(colour=colour)
    assert app.forget == before


def test_the_layout_can_be_changed(app, digits):
    app.set(**{f"layout__{digits.key}": "pca"})
    assert "PCA" in app.texts()


def test_another_dataset_starts_a_new_selection(app):
    app.set(random__count=2).press("random.add").set(open__dataset="breast_cancer")
    assert len(app.forget) == 2  # nothing is lost before the switch is confirmed
    next(b for b in app.at.button if b.label.startswith("Open ")).click()
    app.run()
    assert app.state.spec.dataset == "breast_cancer"
    assert not app.forget
    assert app.address("set") is None
