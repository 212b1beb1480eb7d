"""The relearn race as evidence: its threshold, what is censored, what is missing, and that equals count as equal."""

import numpy as np
import pytest
from evidence.subjects import make_subject

from unlearn_core.evidence import relearning
from unlearn_core.evidence.across import PROBE
from unlearn_core.evidence.readable import DIVERGED, REFERENCES_DIVERGED
from unlearn_core.evidence.relearning import LEAST, ORDERS, RACED, half_way, reached

EPOCHS = 6


def falling(start, rate):
    """Losses that fall by a constant factor each epoch."""
    return start * rate ** np.arange(EPOCHS + 1)


class Hook:
    """`Subject.relearn` from given loss curves; counts how often it is asked."""

    def __init__(self, **curves):
        self.curves, self.asked = curves, []

    def __call__(self, who, seed):
        self.asked.append((who, seed))
        losses = self.curves[who.split(":")[0]]
        losses = losses(int(who.split(":")[1])) if callable(losses) else losses
        return losses + 0.01 * (seed - 1), np.exp(-losses)  # the orders 0, 1, 2 cancel


def subject(retrains=4, there=True, **curves):
    given = {"original": falling(0.2, 0.5), "unlearned": falling(0.2, 0.5), "retrained": lambda k: falling(2 + 0.1 * k, 0.7)}
    made = make_subject("moons", retrains=0, unlearned="noop" if there else None)
    made.retrained = [made.original] * retrains
    made.relearn = Hook(**(given | curves))
    return made


def measures(made):
    return {m.family: m for m in relearning.compute(made).measures}


def crossing(losses, target):
    """By interpolation on a fine grid."""
    grid = np.linspace(0, EPOCHS, 600_001)
    return grid[np.argmax(np.interp(grid, np.arange(EPOCHS + 1), losses) <= target)]


def test_measures_are_those_of_the_averaged_curves():
    made = subject(unlearned=falling(1.8, 0.8))
    found = measures(made)
    starts = [2 + 0.1 * k for k in range(4)]
    target = (0.2 + np.mean(starts)) / 2
    epochs, area = found["relearning.epochs"], found["relearning.area"]
    assert epochs.original == 0 and epochs.unlearned == pytest.approx(crossing(falling(1.8, 0.8), target), abs=1e-4)
    np.testing.assert_allclose(epochs.retrained.values, [crossing(falling(start, 0.7), target) for start in starts], atol=1e-4)
    assert area.unlearned == pytest.approx(falling(1.8, 0.8).mean()) and area.original == pytest.approx(falling(0.2, 0.5).mean())
    view = relearning.compute(made).views["relearn_loss"]
    assert float(view["target"]) == pytest.approx(target)
    np.testing.assert_allclose(view["retrained"], [falling(start, 0.7) for start in starts], atol=1e-12)
    accuracy = relearning.compute(made).views["relearn_accuracy"]
    np.testing.assert_allclose(accuracy["unlearned"], np.exp(-falling(1.8, 0.8)))
    assert set(view) == {"epoch", "original", "unlearned", "retrained", "target"} == set(accuracy) | {"target"}


def test_a_noop_still_knows_and_another_retrained_model_lies_inside():
    still = measures(subject())
    assert still["relearning.epochs"].verdict() == still["relearning.area"].verdict() == "still different"
    assert still["relearning.epochs"].unlearned == 0.0
    like = measures(subject(unlearned=falling(2.13, 0.7)))
    assert like["relearning.epochs"].verdict() == like["relearning.area"].verdict() == "like retrained"


def test_what_retrained_models_know_anyway_is_nothing_to_relearn():
    found = measures(subject(retrained=lambda k: falling(0.2 + LEAST * 0.5, 0.5)))
    epochs, area = found["relearning.epochs"], found["relearning.area"]
    assert epochs.original is None and "nothing to relearn" in epochs.reason
    assert area.verdict() == "cannot tell"
    assert area.retrained.high - area.retrained.low == pytest.approx(2 * LEAST)


def test_races_that_end_too_early_count_in_full_and_are_said():
    slow = measures(subject(unlearned=np.full(EPOCHS + 1, 5.0)))["relearning.epochs"]
    assert slow.unlearned == EPOCHS and "the unlearned model needs more than the 6 epochs" in slow.reason and slow.refused is None
    cut = measures(subject(retrained=lambda k: falling(2 + 0.1 * k, 0.99)))
    assert "4 of 4 retrained models need more than the 6 epochs" in cut["relearning.epochs"].refused
    assert cut["relearning.epochs"].verdict() is None and cut["relearning.area"].verdict() == "still different"


def test_reached_is_linear_between_epochs_and_takes_the_first_time():
    assert reached(np.array([4.0, 2.0, 0.0]), 3.0) == pytest.approx(0.5)
    assert reached(np.array([4.0, 1.0, 3.0, 0.0]), 1.0) == 1.0
    assert reached(np.array([1.0, 2.0]), 1.0) == 0.0
    assert reached(np.array([4.0, 2.0]), 1.0) is None
    assert half_way(np.array([1.0, 0.0]), np.array([[2.0, 0.0], [4.0, 0.0]])) == 2.0
    assert half_way(np.array([3.0, 0.0]), np.array([[2.0, 0.0]])) is None


def test_without_retrained_models_or_a_hook_nothing_is_raced_and_the_reason_is_there():
    made = subject(retrains=0)
    found = relearning.compute(made)
    assert not made.relearn.asked and not found.views
    assert {m.reason for m in found.measures} == {"the retrained models are not there yet"}
    made.settings["retrains"] = 0
    assert relearning.compute(made).measures[0].reason == "no retrained models were asked for"
    made = subject()
    made.relearn = None
    assert {m.reason for m in relearning.compute(made).measures} == {"these models cannot be trained on"}


def test_each_race_is_run_once_while_retrained_models_arrive():
    made = subject(retrains=1)
    first = measures(made)["relearning.area"]
    assert first.retrained.low is None and "1 so far" in first.reason
    made.retrained = made.retrained * (RACED + 3)
    last = measures(made)["relearning.area"]
    assert len(made.relearn.asked) == len(set(made.relearn.asked)) == len(ORDERS) * (2 + RACED)
    assert len(last.retrained.values) == RACED
    assert last.reason == f"only the first {RACED} of {RACED + 3} retrained models raced"


def test_a_large_forget_set_says_that_it_is_a_sample():
    made = subject()
    made.forget = np.arange(PROBE + 1)
    found = measures(made)["relearning.area"]
    assert found.n == PROBE and f"a sample of {PROBE:,}" in found.reason
    assert measures(subject())["relearning.area"].reason is None


def test_diverged_models_are_left_out_and_said():
    broken = np.full(EPOCHS + 1, np.nan)
    found = measures(subject(unlearned=broken))["relearning.area"]
    assert found.unlearned is None and found.original is not None and DIVERGED in found.reason and found.reliability == "weak"
    found = measures(subject(retrained=lambda k: falling(2 + 0.1 * k, 0.7) if k else broken))["relearning.area"]
    assert len(found.retrained.values) == 3 and REFERENCES_DIVERGED in found.reason
    found = measures(subject(retrained=lambda k: broken))["relearning.area"]
    assert found.original is None and "no finite losses" in found.reason


def test_before_unlearning_there_is_only_the_original():
    found = relearning.compute(subject(there=False))
    assert "unlearned" not in found.views["relearn_loss"] and all(m.unlearned is None and m.original is not None for m in found.measures)


def test_a_run_races_its_own_models(store, small, small_spec):
    """The hook of the pipeline: every model trains on exactly the forget set, and stays as it was."""
    import torch

    from unlearn_core import data
    from unlearn_core.models import training
    from unlearn_core.models.relearning import relearn
    from unlearn_core.runs.pipeline import Loaded, Member, Pipeline, _subject
    from unlearn_core.runs.progress import Reporter
    from unlearn_core.runs.spec import RunSpec

    dataset = data.load(small_spec.dataset, small_spec.dataset_params)
    forget = dataset.splits.train[[3, 5, 8]].tolist()
    spec = RunSpec.make(small_spec, dataset.hash, dataset.splits.train, len(dataset), forget, "finetune", {})
    _, member, original = Pipeline(store)._original(spec, Reporter())
    loaded = Loaded(spec, dataset, member, original.layout(), unlearned=member, retrained=[Member(member.model, member.outputs)])
    before = {name: value.clone() for name, value in member.model.state_dict().items()}
    got = _subject(loaded, {}).relearn("retrained:0", 1)
    expected = relearn(member.model, *training.tensors(dataset, "cpu"), forget, spec.original.model_params, 1, "cpu")
    np.testing.assert_allclose(got, expected)
    assert all(torch.equal(before[name], value) for name, value in member.model.state_dict().items())
