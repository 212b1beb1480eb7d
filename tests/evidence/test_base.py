"""The contract: intervals, triples and what they say while retrained models are still awaited."""

import json
from dataclasses import replace

import numpy as np
import pytest
from evidence.subjects import make_subject
from scipy import stats

from unlearn_core.evidence.base import Measure, Retrained, awaited, missing, per_model, retrained_band, to_retrained
from unlearn_core.evidence.readable import readable


def test_interval_is_the_t_prediction_interval():
    values = [0.2, 0.5, 0.35, 0.4]
    band = retrained_band(values)
    mean, s = sum(values) / 4, (sum((v - sum(values) / 4) ** 2 for v in values) / 3) ** 0.5
    half = 3.182446305284263 * s * (1 + 1 / 4) ** 0.5  # t quantile 0.975 with 3 degrees of freedom, from a table
    assert band.mean == pytest.approx(mean)
    assert (band.low, band.high) == pytest.approx((mean - half, mean + half), rel=1e-9)


def test_interval_needs_three_values_and_is_never_narrower_than_a_step():
    assert retrained_band([]) is None
    assert retrained_band([0.1, 0.3]).low is None and retrained_band([0.1, 0.3]).mean == pytest.approx(0.2)
    assert (retrained_band([0.5] * 3, resolution=0.1).low, retrained_band([0.5] * 3, resolution=0.1).high) == pytest.approx((0.4, 0.6))


def test_family_keeps_the_simultaneous_level():
    one, many = retrained_band([0.0, 1.0, 2.0]), retrained_band([0.0, 1.0, 2.0], family=10)
    assert (many.high - 1) / (one.high - 1) == pytest.approx(stats.t.ppf(1 - 0.05 / 20, 2) / stats.t.ppf(0.975, 2))


def test_a_fresh_value_is_covered_as_often_as_promised():
    rng = np.random.default_rng(0)
    draws = rng.normal(3, 2, (3000, 4))
    inside = [band.low <= fresh <= band.high for *values, fresh in draws for band in [retrained_band(values)]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


class Models:
    """Stands in for a Subject: k retrained models and one more, equally distributed, as the unlearned one."""

    def __init__(self, k):
        self.retrained, self.unlearned, self.k, self.settings = [None] * k, True, k, {}

    def names(self):
        return ["original", "unlearned", *(f"retrained:{i}" for i in range(self.k))]

    def once(self, key, compute):
        return compute()


@pytest.mark.parametrize("k", [3, 5])
def test_closeness_to_retrained_covers_a_fresh_retrain(k):
    """pair(i, j) = a_i + a_j: without widening, the interval of three seeds would cover far less than promised."""
    rng, inside = np.random.default_rng(1), []
    for _ in range(1500):
        effect = {who: rng.normal() for who in Models(k).names()}
        inside.append(to_retrained(Models(k), "x.y", "g", lambda a, b, effect=effect: effect[a] + effect[b], n=1).inside())
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_closeness_averages_over_the_other_retrained_models():
    distance = {("retrained:0", "retrained:1"): 1.0, ("retrained:0", "retrained:2"): 2.0, ("retrained:1", "retrained:2"): 6.0}
    distance |= {(who, f"retrained:{i}"): 10.0 * i for who in ("original",) for i in range(3)}
    distance |= {(f"retrained:{i}", "unlearned"): 3.0 for i in range(3)}
    m = to_retrained(Models(3), "x.y", "g", lambda a, b: distance[a, b], n=1)
    assert m.retrained.values == (1.5, 3.5, 4.0) and m.null == (1.5, 4.0)
    assert m.original == 10.0 and m.unlearned == 3.0


def test_what_is_awaited_is_said_and_disappears():
    texts = [awaited(Models(k)) for k in range(4)]
    assert "not there yet" in texts[0] and "3" in texts[1] and "2 so far" in texts[2] and texts[3] is None
    assert to_retrained(Models(0), "x.y", "g", lambda a, b: 0.0, n=1).reason == texts[0]
    assert per_model(Models(2), "x.y", "g", lambda who: 1.0, n=1).reason == texts[2]
    assert per_model(Models(0), "x.y", "g", lambda who: 1.0, n=1, reason="few").reason == "few"


def test_values_are_computed_once_while_retrained_models_arrive():
    subject, asked = make_subject("moons", retrains=3), []

    def value(who):
        asked.append(who)
        return 1.0

    all_retrained, subject.retrained = subject.retrained, []
    per_model(subject, "x.y", "g", value, n=1)
    subject.retrained = all_retrained[:1]
    per_model(subject, "x.y", "g", value, n=1)
    assert asked == ["original", "unlearned", "retrained:0"]


def test_measures_survive_json():
    band = retrained_band([0.1, 0.2, 0.4])
    for m in (Measure("a.b.g", "g", 1.0, 2.0, band, ci=(0.1, 0.2), null=(0.0, 1.0), n=3), missing("a.b", "g", "why", 4)):
        assert Measure.from_dict(json.loads(json.dumps(m.to_dict()))) == m
        assert m.family == "a.b"


@pytest.mark.parametrize(("original", "unlearned", "verdict"), [
    (5.0, 1.0, "like retrained"), (5.0, 6.0, "still different"), (1.0, 6.0, "moved away"), (1.0, 1.2, "cannot tell"), (None, 1.0, None),
])  # fmt: skip
def test_a_verdict_says_what_the_untouched_original_would_have_shown(original, unlearned, verdict):
    band = Retrained((0.9, 1.0, 1.1), 1.0, 0.5, 1.5)
    assert Measure("utility.loss.forget", "forget", original, unlearned, band).verdict() == verdict


def test_a_value_on_the_edge_is_inside_whatever_floating_point_makes_of_it():
    band = Retrained((26 / 27,) * 3, 26 / 27, 0.962962962962963, 1.04)
    assert Measure("utility.accuracy.test", "test", 1.0, 0.9629629629629629, band).inside()
    assert not Measure("utility.accuracy.test", "test", 1.0, 0.9629, band).inside()


def test_what_is_remembered_of_one_retrained_model_is_never_used_for_another():
    subject = make_subject("moons", retrains=3)
    first = subject.once(("loss", "retrained:0"), lambda: "of model 0")
    broken = replace(subject.retrained[0], logits=np.full_like(subject.retrained[0].logits, np.nan))
    left, reason = readable(replace(subject, retrained=[broken, *subject.retrained[1:]]), features=False)
    assert first == "of model 0" and reason and left.retrained == subject.retrained[1:]
    assert left.once(("loss", "retrained:0"), lambda: "of model 1") == "of model 1"
    again, _ = readable(replace(subject, retrained=[broken, *subject.retrained[1:]]), features=False)
    assert again.once(("loss", "retrained:0"), lambda: "anew") == "of model 1"


@pytest.mark.parametrize(
    "original, unlearned, past", [(0.0, 3.0, True), (0.0, 0.5, False), (5.0, 0.0, True), (5.0, 4.0, False), (0.0, 1.5, False)]
)
def test_going_past_retraining_is_told_from_not_getting_there(original, unlearned, past):
    from unlearn_core.report import _past

    assert _past(Measure("a.b", "b", original, unlearned, Retrained((1.0, 2.0), 1.5, 1.0, 2.0))) is past
