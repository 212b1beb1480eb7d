"""Data whose instances carry several labels, or a number: every page draws, and what needs a class says why it is missing."""

import numpy as np
import pytest

from pages.parts import answers, comparing, mapping
from pages.parts.backend import original
from pages.parts.sections import KNOWN_ONLY, SECTIONS
from ui.conftest import App, server
from unlearn_core import data, evidence, methods
from unlearn_core.data.base import ANSWERS
from unlearn_core.projection import pca
from unlearn_core.runs import api
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec, RunSpec
from unlearn_core.runs.store import Store

DATA = {"labels": "digit_traits", "number": "diabetes"}
SINGLE = [name for name in SECTIONS if name not in ("Requests", *KNOWN_ONLY)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The app on a store with one run on each dataset, laid out without UMAP, which takes long to start."""
    store = Store(tmp_path_factory.mktemp("answers"))
    pipeline = Pipeline(store, layout=lambda features, *_: pca(features))
    found = {}
    for task, name in DATA.items():
        spec = OriginalSpec.make(name, "mlp", model_params={"epochs": 20, "width": 32})
        loaded = data.load(name)
        request = RunSpec.make(
            spec, loaded.hash, loaded.splits.train, len(loaded), loaded.splits.train[:25], "nabla_tau", retrains=5, device="cpu"
        )
        found[task] = api.complete(pipeline, request, Reporter())
    with server(store.folder):
        yield found


@pytest.fixture(scope="module")
def opened(runs):
    return {task: App("studio", run=run.key) for task, run in runs.items()}


@pytest.mark.parametrize("section", SINGLE)
@pytest.mark.parametrize("task", DATA)
def test_every_section_draws_and_says_what_is_missing(opened, runs, task, section):
    app, run = opened[task].set(section=section), runs[task]
    text = app.texts()
    names = ("privacy", "population") if section == "Privacy" else (section.lower(),)
    families = {m.family for m in run.measures if m.family.split(".")[0] in names}
    for family in families:
        known, measures = evidence.definition(family), run.family(family)
        assert known.title in text, family
        assert all(m.reason in text for m in measures if m.unlearned is None), family
    lacking = [m for m in run.measures if m.group == evidence.EVERYTHING and m.family in families]
    assert all(ANSWERS[task] in m.reason and m.original is m.unlearned is m.retrained is None for m in lacking)
    if section in ("Boundary", "Shadows"):
        assert lacking
    if section not in ("Files", "Shadows") and len(lacking) < len(families):
        assert app.charts() > 0


@pytest.mark.parametrize("task", DATA)
def test_the_score_of_attacks_is_the_one_that_is_drawn(opened, task):
    text = opened[task].set(section="Privacy").texts()
    assert ("The logit-scaled confidence φ" in text, "The score is minus the loss" in text) == (task == "labels", task == "number")


def test_why_no_columns_are_marked_is_said_for_numbers(opened):
    assert "Which words or columns decide is not told: the answer is a number" in opened["number"].set(section="Instances").texts()


def test_shadow_models_are_not_offered(opened):
    for app in opened.values():
        app.set(section="Shadows")
        assert not any(key.startswith("audit.") for key in app.keys)
        assert "Exposed" not in app.widget("way").options


@pytest.mark.parametrize("task", DATA)
def test_the_form_offers_only_methods_that_work(opened, task):
    offered = set(opened[task].widget(next(k for k in opened[task].keys if k.startswith("method.") and k.count(".") == 1)).options)
    assert offered == {m.title for m in methods.suited("mlp", task).values()} and methods.info("scrub").title not in offered


@pytest.mark.parametrize("task", DATA)
def test_every_colour_of_the_map(opened, runs, task):
    found = original(runs[task].spec.original.key)
    colours = opened[task].widget("colour").options
    assert len(colours) == len(mapping.colours(found)) and "Class" not in colours
    for colour in mapping.colours(found):
        assert opened[task].set(colour=colour).state.run == runs[task].key
    opened[task].set(colour=mapping.colours(found)[0])


def test_the_map_of_a_number_is_a_scale_in_its_unit(runs):
    found, loaded = original(runs["number"].spec.original.key), data.load("diabetes")
    drawn = answers.colouring(found, "progression")
    from sklearn.datasets import load_diabetes

    np.testing.assert_allclose(drawn["value"], load_diabetes().target[loaded.splits.train], rtol=1e-5)
    assert drawn["title"] == "Progression (points)"
    assert mapping.captions(found.key)[0].startswith(f"id {found.ids[0]} · is {load_diabetes().target[found.ids[0]]:.0f} · predicted ")


def test_the_map_of_labels_shows_each_and_names_what_was_said(runs):
    found = original(runs["labels"].spec.original.key)
    digit = np.array([int(name) for name in found.meta["class_names"]])[found.arrays["label"]]
    assert (answers.colouring(found, "label even")["category"] == (digit % 2 == 0)).all()
    assert (answers.colouring(found, answers.ALL_RIGHT)["category"] == found.right).all()
    eight = int(np.flatnonzero(digit == 8)[0])
    assert found.words("target", [eight]) == ["even + five or more + closed loop"]
    assert found.words("target", [int(np.flatnonzero(digit == 1)[0])]) == ["none"]


@pytest.mark.parametrize(("task", "way"), [("labels", "Group"), ("number", "Range")])
def test_selecting_by_group_and_by_query(opened, runs, task, way):
    app, found = opened[task], original(runs[task].spec.original.key)
    before = len(app.forget)
    name = found.meta["class_names"][1]
    app.set(way=way).set(class__names=[name]).press("class.add")
    assert len(app.forget) > before and f"{way.lower()} {name}" in app.forget.provenance
    app.set(way="Query")
    assert "query.confidence" not in app.keys and ("query.outcome" in app.keys) == (task == "labels")
    app.press("query.add")
    table = app.at.dataframe[0].value
    assert {"label", "predicted", "loss"} <= set(table.columns) and "confidence" not in table.columns


def test_a_comparison_offers_what_both_runs_have(runs):
    app = App("runs", compare=f"{runs['number'].key},{runs['labels'].key}")
    options = app.widget("compare.family").options
    offered = {evidence.definition(family).title for family in ("utility.loss", "structure.knn_overlap", "privacy.auc")}
    assert set(options) == offered
    for option in app.widget("compare.family").options:
        app.widget("compare.family").set_value(next(f for f in comparing.HEADLINES if evidence.definition(f).title == option))
        app.run()
        assert app.charts() == 1
