"""The study: its rows are means over stored runs with a t interval, beside doing nothing and retraining."""

import json

import numpy as np
import pytest
from scipy import stats

from unlearn_core.__main__ import main
from unlearn_core.errors import BadInput
from unlearn_core.runs import api, study
from unlearn_core.runs.spec import RunSpec
from unlearn_core.runs.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def rows(store):
    return list(study.study("quick", store, 3, ["finetune", "retrain"]))


def runs_of(store, method):
    found = [api.load_run(store, job.key) for job in store.jobs("evidence")]
    return sorted((run for run in found if run.spec.method == method), key=lambda run: run.spec.seed)


def test_every_method_stands_beside_doing_nothing_and_retraining(rows):
    assert [row.method for row in rows] == ["finetune", "retrain", "original", "retrained"]
    assert all(row.seeds == 3 and set(row.values) == set(study.MEASURES) for row in rows)


def test_both_ways_of_missing_retraining_are_counted(rows):
    for row in rows:
        left, past = (row.values[f"instances.{side}.forget"][0] for side in ("told_apart", "over_forgotten"))
        assert left >= 0 and past >= 0 and left + past <= 1, row.method


def test_values_are_means_over_seeds_with_a_t_interval(rows, store):
    runs = runs_of(store, "finetune")
    assert [run.spec.seed for run in runs] == [0, 1, 2]
    values = [run.measure("boundary.js.forget").unlearned for run in runs]
    mean, half = next(row for row in rows if row.method == "finetune").values["boundary.js.forget"]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert mean == pytest.approx(np.mean(values)) and (mean - half, mean + half) == pytest.approx((low, high))
    untouched = next(row for row in rows if row.method == "original").values["utility.accuracy.forget"]
    assert untouched[0] == pytest.approx(np.mean([run.measure("utility.accuracy.forget").original for run in runs]))


def test_random_forget_sets_differ_and_methods_share_them(store):
    fine, anew = runs_of(store, "finetune"), runs_of(store, "retrain")
    assert len({run.spec.forget for run in fine}) == 3
    assert [run.spec.forget for run in fine] == [run.spec.forget for run in anew]


def test_nothing_is_computed_twice(rows, store, monkeypatch):
    monkeypatch.setattr(study.Pipeline, "unlearn", lambda *given: pytest.fail("computed again"))
    assert list(study.study("quick", store, 3, ["finetune", "retrain"])) == rows


def test_the_hardest_are_those_with_the_highest_loss(store):
    spec = RunSpec.from_dict(store.jobs("evidence")[0].spec)
    found = api.originals.load(store, spec.original.key)
    ids = study._hardest(5)(found, 0)
    rest = ~np.isin(found.ids, ids)
    assert len(ids) == 5 and found.arrays["loss"][~rest].min() >= found.arrays["loss"][rest].max()


def test_what_is_missing_is_a_dash(rows):
    text = study.table(rows).splitlines()
    assert len(text) == 2 + len(rows) and text[0].count("|") == 3 + len(study.MEASURES)
    cells = next(line for line in text if "| original |" in line).split("|")
    assert cells[-2].strip() == "–" and "±" in cells[3]


def test_bad_requests_are_refused(store):
    with pytest.raises(BadInput, match="suite"):
        list(study.study("everything", store))
    with pytest.raises(BadInput, match="seeds"):
        list(study.study("quick", store, 1))
    with pytest.raises(BadInput, match="method"):
        list(study.study("quick", store, 3, ["magic"]))


def test_the_command_line_prints_the_same(rows, store, capsys):
    given = ["bench", "--suite", "quick", "--seeds", "3", "--methods", "finetune,retrain", "--store", str(store.folder)]
    assert main(given) == 0 and capsys.readouterr().out.strip() == study.table(rows)
    assert main([*given, "--json"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)] == [row.method for row in rows]
    assert main(["bench", "--seeds", "few"]) == 2 and "seeds" in capsys.readouterr().err
