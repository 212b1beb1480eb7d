"""The Instances section: what is said, which instance is shown, what is missing and how to get it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ui.conftest import App, server
from unlearn_core import methods, report
from unlearn_core.evidence import instances as evidence
from unlearn_core.evidence.verdicts import NOT
from unlearn_core.runs.api import load_run, run
from unlearn_core.runs.store import Store


def misclassifying(patch):
    """Declares every method as one whose goal is misclassification, while `patch` lasts."""
    known = methods.info
    patch.setattr(methods, "info", lambda name: replace(known(name), goal="misclassify"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_spec):
    """The app on a store with three runs on moons: six retrained models, six and another goal, two."""
    store = Store(tmp_path_factory.mktemp("instances"))
    recipe = {name: getattr(small_spec, name) for name in ("dataset", "dataset_params", "model", "model_params")}
    given = {**recipe, "forget": "random:0.15", "device": "cpu", "store": store}
    found = {"six": run(method="finetune", retrains=6, **given), "two": run(method="nabla_tau", retrains=2, **given)}
    with pytest.MonkeyPatch.context() as patch:
        misclassifying(patch)
        found["wrong"] = run(method="neggrad_plus", retrains=6, **given)
    with server(store.folder):
        yield found


def opened(found):
    return App("studio", run=found.key).set(section="Instances")


@pytest.fixture
def six(runs):
    return opened(runs["six"])


def tables(app):
    return [d.value for d in app.at.dataframe if "p_told_apart" in d.value.columns]


def test_the_count_is_said_once_and_the_same_everywhere(six, runs):
    counted = evidence.waffles(runs["six"].views["instances"])
    (sentence,) = report.instances(runs["six"])
    assert counted["unlearned"].text in sentence and sentence in report.summary(runs["six"]).forgotten
    assert f"untouched original: {counted['original'].counts[NOT]}." in sentence
    assert f"**{sentence}**" in six.texts()
    assert f"{counted['controlled'].flagged}." in six.texts()
    assert six.charts() >= 6  # waffle, needles, bells, QQ, two shares


def test_the_most_told_apart_comes_first_and_the_table_and_the_list_stay_in_step(six, runs):
    key, view = runs["six"].key, runs["six"].views["instances"]
    order = view["ids"][np.argsort(view["p_told_apart"], kind="stable")].tolist()
    (table,) = tables(six)
    chosen = six.widget(f"instances.one.{key}")
    assert table["id"].tolist() == order and chosen.value == order[0]
    chosen.set_value(order[2])
    six.run()
    assert six.at.session_state[f"instances.rows.{key}"]["selection"]["rows"] == [2]
    six.at.session_state[f"instances.rows.{key}"] = {"selection": {"rows": [1], "columns": [], "cells": []}}
    six.run()
    assert six.widget(f"instances.one.{key}").value == order[1]
    at = view["ids"].tolist().index(order[1])
    assert f"**{view['verdict'][at].capitalize()}**" in six.texts()
    assert f"{view['detectable'][at]:.2g} logits" in six.texts()
    assert f"Instance {order[1]}, given label" in six.texts() and "Nearest retained: " in six.texts()


def test_the_nearest_retained_instance_is_not_a_forgotten_one(six, runs):
    (table,) = tables(six)
    assert not set(table["nearest_retained"].dropna()) & set(runs["six"].spec.forget)


def test_the_set_as_a_whole_is_judged_by_the_retrained_models(six, runs):
    view = runs["six"].views["uniformity"]
    assert f"calibrated p = {float(view['p_calibrated']):.2f}" in six.texts()
    assert "take instances for independent, which they are not" in six.texts()


def test_a_method_that_undoes_is_not_asked_for_wrong_answers(six, runs):
    assert not runs["six"].family("instances.misclassified")
    assert "only for methods whose goal is misclassification" in six.texts()


def test_a_method_that_misclassifies_is_judged_by_its_own_goal(runs):
    found = runs["wrong"]
    with pytest.MonkeyPatch.context() as patch:
        misclassifying(patch)
        app = opened(found)
    assert "aims at wrong answers" in app.texts()
    assert evidence.OTHER_GOAL in found.measure("instances.told_apart.forget").reason
    assert found.measure("instances.misclassified.forget").unlearned is not None
    assert "only for methods whose goal is misclassification" not in app.texts()


def test_too_few_retrained_models_say_how_to_get_enough(runs):
    app = opened(runs["two"])
    assert "need 5 retrained models; this run has 2. Ask for 16 retrained models" in app.texts()
    assert "verdicts on single instances need 5 retrained models, 2 so far" in app.texts()
    assert not tables(app)


def test_a_run_of_an_earlier_version_says_so(runs):
    views = {name: dict(view) for name, view in runs["six"].views.items()}
    del views["instances"]["verdict_retrained"], views["uniformity"]
    old = replace(runs["six"], views=views)
    assert not report.instances(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pages.parts.results.stored", lambda key: old)
        assert "An earlier version computed this run" in opened(runs["six"]).texts()


def test_further_columns_are_joined_by_id(runs):
    from pages.parts.backend import original
    from pages.parts.sections.instances import _frame

    found = original(runs["six"].spec.original.key)
    view = load_run(Store(found.folder.parents[1]), runs["six"].key).views["instances"]
    more = pd.DataFrame({"id": view["ids"][::-1], "memorisation": np.arange(len(view["ids"]), dtype=float)[::-1]})
    frame = _frame(runs["six"], found, view, more)
    assert len(frame) == len(view["ids"])
    assert (frame["memorisation"] == [view["ids"].tolist().index(i) for i in frame["id"]]).all()
