"""The charts of utility draw the numbers that they were given."""

import numpy as np
import pytest
from evidence.subjects import make_subject

from unlearn_core.evidence import utility
from unlearn_core.evidence.base import Measure, Retrained
from unlearn_core.figures import utility as charts


@pytest.fixture(scope="module")
def findings():
    return utility.compute(make_subject("digits", unlearned="retrain"))


def named(fig, name):
    return next(trace for trace in fig.data if trace.name == name)


def test_triples_hold_every_model_in_the_order_of_groups(findings):
    by_id = {m.id: m for m in findings.measures}
    for fig, family in ((charts.accuracy(findings.measures), "accuracy"), (charts.loss(findings.measures), "loss")):
        rows = [by_id[f"utility.{family}.{g}"] for g in ("retain", "forget", "test")]
        assert list(named(fig, "Unlearned").x) == [m.unlearned for m in rows]
        assert len(named(fig, "Retrained").x) == 9
        assert fig.layout.paper_bgcolor == "rgba(0,0,0,0)"
        assert [text.split("<")[0] for text in fig.layout.yaxis.ticktext] == ["Retained", "Forgotten", "Test"]


def test_axes_never_leave_what_a_share_can_be():
    wide = Measure("utility.accuracy.test", "test", 0.9, 0.95, Retrained((0.9, 1.0, 0.95), 0.95, 0.7, 1.2), n=10)
    low, high = charts.accuracy([wide]).layout.xaxis.range
    assert low < 0.7 and 1 < high < 1.05


def test_classes_without_instances_are_left_out():
    view = {
        "names": np.array(["a", "b"]),
        "n_test": np.array([4, 0]),
        "original_test": np.array([0.5, 0.0]),
        "retrained_test": np.zeros((0, 2)),
    }
    fig = charts.per_class(view)
    assert list(fig.layout.xaxis.ticktext) == ["a"] and list(named(fig, "Original").y) == [0.5]


def test_class_bands_are_intervals_of_the_retrained_models(findings):
    fig = charts.per_class(findings.views["per_class"])
    band, by_id = named(fig, "Expected after retraining"), {m.id: m for m in findings.measures}
    for i, (base, height) in enumerate(zip(band.base, band.y, strict=True)):
        r = by_id[f"utility.accuracy.test:class:{i}"].retrained
        assert (base, base + height) == pytest.approx((max(r.low, 0), min(r.high, 1)))


def test_cost_shows_the_sentence_when_retraining_is_cheaper():
    seconds = Measure("utility.seconds.method", "method", None, 3.0, Retrained((1.0,), 1.0, None, None))
    ratio = Measure("utility.cost.ratio", "ratio", None, 3.0, reason="Retraining is cheaper.")
    fig = charts.cost(seconds, ratio)
    assert {trace.name: trace.x[0] for trace in fig.data} == {"This method": 3.0, "One retraining": 1.0}
    assert fig.layout.annotations[0].text == "Retraining is cheaper."
    assert len(charts.cost(Measure("utility.seconds.method", "method", None, 3.0)).data) == 1


def test_charts_work_before_any_retrained_model(findings):
    early = utility.compute(make_subject("moons", retrains=0, unlearned=None))
    assert list(named(charts.accuracy(early.measures), "Unlearned").x) == []
    assert len(charts.per_class(early.views["per_class"]).data) == 1
