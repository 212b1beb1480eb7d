"""Gaps between groups: by hand, and against scikit-learn's confusion matrices."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from unlearn_core.data.base import Group, Splits
from unlearn_core.evidence import groups
from unlearn_core.evidence.base import Outputs, Subject
from unlearn_core.figures import groups as figures

EMPTY = np.empty(0, np.int64)


def make(n=400, seed=0, names=("f", "m"), shift=1.5, classes=2):
    """Models that answer the second class more often for the last group; test instances are the second half."""
    rng = np.random.default_rng(seed)
    codes, labels = rng.integers(0, len(names), n), rng.integers(0, classes, n)
    outputs = [
        Outputs(
            (rng.normal(size=(n, classes)) + np.eye(classes)[1] * (shift * (codes == len(names) - 1) + labels)[:, None]).astype(np.float32),
            {},
        )
        for _ in range(5)
    ]
    return Subject(
        labels=labels, class_names=tuple("abc"[:classes]), modality="tabular", inputs=np.zeros((n, 1)),
        splits=Splits(np.arange(n // 2), EMPTY, EMPTY, np.arange(n // 2, n), EMPTY), forget=np.arange(5),
        original=outputs[0], unlearned=outputs[1], retrained=outputs[2:], predict=None, head=None, groups={"sex": Group(codes, names)},
    )  # fmt: skip


def by_id(subject):
    return {m.id: m for m in groups.compute(subject).measures}


def test_gaps_equal_those_from_confusion_matrices():
    subject = make()
    found, test, codes = by_id(subject), subject.splits.test, subject.groups["sex"].codes
    expected = {"parity": [], "opportunity": [], "accuracy": []}
    for outputs in (subject.original, subject.unlearned, *subject.retrained):
        answers, rates = outputs.logits.argmax(axis=1), {name: [] for name in expected}
        for code in (0, 1):
            ids = test[codes[test] == code]
            (tn, fp), (fn, tp) = confusion_matrix(subject.labels[ids], answers[ids])
            rates["parity"].append((fp + tp) / len(ids))
            rates["opportunity"].append(recall_score(subject.labels[ids], answers[ids]))
            rates["accuracy"].append((tn + tp) / len(ids))
        for name, pair in rates.items():
            expected[name].append(abs(pair[0] - pair[1]))
    for name, values in expected.items():
        m = found[f"groups.{name}.sex"]
        assert [m.original, m.unlearned, *m.retrained.values] == pytest.approx(values, rel=1e-12)
    assert found["groups.parity.sex"].n == 200
    assert found["groups.opportunity.sex"].n == (subject.labels[test] == 1).sum()
    assert found["groups.parity.sex"].original > 0.15


def test_models_that_treat_groups_alike_have_no_gap():
    subject = make(n=40_000, shift=0.0)
    assert all(m.original < 0.03 for m in by_id(subject).values())


def test_small_groups_are_left_out_and_named():
    subject = make(n=600, names=("a", "b", "c"))
    codes = subject.groups["sex"].codes.copy()
    test = subject.splits.test
    codes[test[codes[test] == 2][5:]] = 0
    small = replace(subject, groups={"race": Group(codes, ("a", "b", "c"))}, memo={})
    m = by_id(small)["groups.parity.race"]
    assert "c" in m.reason and m.n == 295
    one = replace(subject, groups={"race": Group(np.zeros(600, int), ("a",))}, memo={})
    assert by_id(one)["groups.parity.race"].unlearned is None


def test_missing_groups_belong_to_none():
    subject = make()
    codes = subject.groups["sex"].codes.copy()
    codes[subject.splits.test[:50]] = -1
    assert by_id(replace(subject, groups={"sex": Group(codes, ("f", "m"))}))["groups.accuracy.sex"].n == 150


def test_more_than_two_classes_have_no_positive_one():
    found = by_id(make(classes=3))
    assert found["groups.parity.sex"].unlearned is None and "two classes" in found["groups.parity.sex"].reason
    assert found["groups.accuracy.sex"].unlearned is not None


def test_without_groups_there_is_nothing():
    found = groups.compute(replace(make(), groups={}))
    assert found.measures == [] and found.views == {}


def test_the_chart_shows_every_model_of_every_large_group():
    subject = make(n=600, names=("a", "b", "c"))
    view = groups.compute(subject).views["groups_sex"]
    view["parity_n"] = np.array([100, 10, 100])
    fig = figures.rates(view, "parity")
    drawn = {trace.name: trace for trace in fig.data}
    assert len(drawn["Original"].x) == 2 and len(drawn["Retrained"].x) == 6
    assert drawn["Original"].x.tolist() == view["parity_original"][[0, 2]].tolist()
    assert drawn["Retrained"].x[:2].tolist() == view["parity_retrained"][0, [0, 2]].tolist()
    assert "n = 100" in fig.layout.yaxis.ticktext[0]
