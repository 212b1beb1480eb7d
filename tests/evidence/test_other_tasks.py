"""Evidence on several labels and on numbers against scikit-learn and scipy, and the reasons of what needs a class."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, mean_absolute_error, r2_score, roc_auc_score

from unlearn_core import evidence
from unlearn_core.data.base import ANSWERS, Number, stratified_splits
from unlearn_core.errors import BadInput
from unlearn_core.evidence.attacks import logit_scaled_confidence
from unlearn_core.evidence.base import Outputs, Subject
from unlearn_core.evidence.logits import label_divergence, log_sigmoid, losses, membership, predictions
from unlearn_core.evidence.slices import slice_views

N, L, D = 300, 3, 6
UNIT = Number("progression", "points", 160.0, 80.0)
MODELS = ("original", "unlearned", *(f"retrained:{k}" for k in range(6)))


def make_subject(task, unlearned=True, retrains=6, forget=25):
    """Random linear models whose answers follow planted targets more or less closely."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(N, D)).astype(np.float32)
    truth = inputs @ rng.normal(size=(D, L if task == "labels" else 1))
    truth = truth + 0.3 * rng.normal(size=truth.shape)
    targets = truth > 0.4 if task == "labels" else (truth / truth.std()).astype(np.float32)
    strata = np.digitize(truth[:, 0], np.quantile(truth[:, 0], [0.25, 0.5, 0.75]))
    splits = stratified_splits(strata, 0)

    def outputs(noise):
        seen = 3 * (truth - 0.4) if task == "labels" else targets
        features = np.abs(inputs + noise * rng.normal(size=inputs.shape)).astype(np.float32)
        return Outputs((seen + noise * rng.normal(size=seen.shape)).astype(np.float32), {"hidden": inputs, "features": features})

    found = {who: outputs(0.1 if who == "original" else 0.5) for who in MODELS}
    race = np.linspace(1, 0, 11)
    return Subject(
        labels=strata, class_names=("a", "b", "c", "d"), modality="tabular", inputs=inputs, splits=splits,
        forget=splits.train[::8][:forget], original=found["original"], unlearned=found["unlearned"] if unlearned else None,
        retrained=[found[f"retrained:{k}"] for k in range(retrains)], predict=None, head=None, layout=inputs[splits.train, :2],
        relearn=lambda who, seed: (race * (0.1 if who == "original" else 0.5), 1 - race), settings={"retrains": 6}, seconds={"method": 1.0},
        targets=targets, target_names=("x", "y", "z")[: targets.shape[1]], number=UNIT if task == "number" else None,
    )  # fmt: skip


def value(found, id):
    return next(m for m in found.measures if m.id == id)


@pytest.fixture(scope="module", params=["labels", "number"])
def everything(request):
    subject = make_subject(request.param)
    return subject, {name: evidence.compute(name, subject) for name in evidence.registry()}


def groups(subject):
    return {"retain": subject.retain, "forget": subject.forget, "test": subject.splits.test}


def test_utility_of_labels_equals_scikit_learn():
    subject = make_subject("labels")
    found = evidence.compute("utility", subject)
    for group, ids in groups(subject).items():
        given, said = subject.targets[ids], subject.unlearned.logits[ids] > 0
        assert value(found, f"utility.exact.{group}").unlearned == pytest.approx(accuracy_score(given, said))
        assert value(found, f"utility.label_accuracy.{group}").unlearned == pytest.approx(1 - hamming_loss(given, said))
        assert value(found, f"utility.f1.{group}").unlearned == pytest.approx(f1_score(given, said, average="micro"))
    by_label = f1_score(given, said, average=None)
    assert [value(found, f"utility.f1.test:label:{name}").unlearned for name in "xyz"] == pytest.approx(by_label.tolist())
    assert 0.5 < value(found, "utility.exact.test").unlearned < 1  # otherwise the above says little


def test_utility_of_numbers_equals_scikit_learn_in_their_own_unit():
    subject = make_subject("number")
    found = evidence.compute("utility", subject)
    for group, ids in groups(subject).items():
        given, said = (160 + 80 * values[ids, 0].astype(float) for values in (subject.targets, subject.unlearned.logits))
        assert value(found, f"utility.error.{group}").unlearned == pytest.approx(mean_absolute_error(given, said))
        assert value(found, f"utility.r2.{group}").unlearned == pytest.approx(r2_score(given, said))
    assert found.views["number"]["unit"] == "points"


def test_a_label_that_no_test_instance_has_and_equal_numbers_say_so():
    subject = make_subject("labels")
    targets = subject.targets.copy()
    targets[subject.splits.test, 1] = False
    lacking = value(evidence.compute("utility", replace(subject, targets=targets, memo={})), "utility.f1.test:label:y")
    assert lacking.unlearned is None and "no such instance has the label" in lacking.reason
    subject = make_subject("number", forget=1)
    lacking = value(evidence.compute("utility", subject), "utility.r2.forget")
    assert lacking.unlearned is None and "two instances" in lacking.reason


def test_the_score_of_labels_is_the_confidence_in_exactly_these():
    """Against the probability of the given set among all 2^L sets, multiplied out; with one label it is the φ of two classes."""
    rng = np.random.default_rng(3)
    z, given = rng.normal(size=(20, L)) * 4, rng.random((20, L)) < 0.5
    p = 1 / (1 + np.exp(-z))
    every = np.array([[(k >> j) & 1 for j in range(L)] for k in range(2**L)], bool)
    joint = np.array([[np.prod(np.where(one, row, 1 - row)) for one in every] for row in p])
    own = np.array([np.flatnonzero((every == row).all(1))[0] for row in given])
    others = joint.sum(1) - joint[np.arange(20), own]
    np.testing.assert_allclose(membership(z, None, given), np.log(joint[np.arange(20), own] / others), rtol=1e-8)
    two = np.stack([np.zeros(20), z[:, 0]], axis=1)
    np.testing.assert_allclose(membership(z[:, :1], None, given[:, :1]), logit_scaled_confidence(two, given[:, 0].astype(int)), rtol=1e-8)
    assert np.isfinite(membership(np.full((2, L), 1e5), None, np.ones((2, L), bool))).all()


def test_attacks_see_the_loss(everything):
    subject, found = everything
    loss = losses(subject, "unlearned")
    forget, test = subject.forget, subject.splits.test
    truth = np.r_[np.ones(len(forget)), np.zeros(len(test))]
    wanted = roc_auc_score(truth, -np.r_[loss[forget], loss[test]])
    assert value(found["privacy"], "privacy.auc.forget").unlearned == pytest.approx(wanted)
    assert value(found["privacy"], "privacy.lr_attack.forget").unlearned is not None
    assert ("confidence" in found["privacy"].views) == (subject.task == "labels")


def test_divergence_of_labels_is_the_mean_of_each_label():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(7, L)) * 3, rng.normal(size=(7, L)) * 3
    p, q = (1 / (1 + np.exp(-z)) for z in (a, b))
    wanted = [[jensenshannon([x, 1 - x], [y, 1 - y], base=2) ** 2 for x, y in zip(*rows, strict=True)] for rows in zip(p, q, strict=True)]
    np.testing.assert_allclose(label_divergence(log_sigmoid(a), log_sigmoid(b)), np.mean(wanted, axis=1), atol=1e-10)


@pytest.mark.parametrize("labels", [1, 8, 9, 70])
def test_sets_of_labels_are_equal_where_every_label_is(labels):
    rng = np.random.default_rng(labels)
    subject = make_subject("labels")
    a = rng.random((N, labels)) < 0.9
    b = a ^ (rng.random((N, labels)) < 1 / labels / 2)
    subject = replace(subject, original=Outputs(np.where(a, 1.0, -1.0), {}), unlearned=Outputs(np.where(b, 1.0, -1.0), {}), memo={})
    same = predictions(subject, "original") == predictions(subject, "unlearned")
    assert (same == (a == b).all(axis=1)).all() and 0 < same.mean() < 1


def test_boundary_by_hand(everything):
    subject, found = everything
    ids, retrained = subject.splits.test, [outputs.logits for outputs in subject.retrained]
    said = subject.unlearned.logits
    if subject.task == "labels":
        named, flips = [(z > 0)[ids] for z in retrained], value(found["boundary"], "boundary.flips.test").unlearned
        assert flips == pytest.approx(((said > 0) != (subject.original.logits > 0))[ids].any(axis=1).mean())
        wanted = np.mean([((said > 0)[ids] == other).all(axis=1).mean() for other in named])
        assert value(found["boundary"], "boundary.agreement.test").unlearned == pytest.approx(wanted)
        assert 0 < value(found["boundary"], "boundary.js.test").unlearned < 1
    else:
        wanted = np.mean([80 * np.abs(said - other)[ids].mean() for other in retrained])
        assert value(found["boundary"], "boundary.apart.test").unlearned == pytest.approx(wanted, rel=1e-5)


def test_damage_to_numbers_is_the_rise_of_the_loss(everything):
    subject, found = everything
    view = found["collateral"].views["damage"]
    if subject.task == "labels":
        assert value(found["collateral"], "collateral.accuracy.neighbours").unlearned is not None
        return
    each = np.stack([losses(subject, who)[view["ids"]] for who in MODELS])
    wanted = (each[1] - each[2:].mean(axis=0))[view["near"]].mean()
    assert value(found["collateral"], "collateral.error.neighbours").unlearned == pytest.approx(wanted)
    assert not [m for m in found["collateral"].measures if m.family == "collateral.damage" and m.group != evidence.EVERYTHING]


def test_every_measure_of_classes_is_there_or_says_why(everything):
    """Nothing is left out, nothing is a default: a value, or the reason of the task, or another reason."""
    subject, found = everything
    for name, module in evidence.registry().items():
        told = {}
        for m in found[name].measures:
            told.setdefault(m.family, []).append(m)
        if not module.applies(subject):
            assert not told
            continue
        for known in module.definitions:
            if subject.task in known.tasks:
                assert all(m.group != evidence.EVERYTHING for m in told.get(known.id, []))
            elif "classes" in known.tasks:
                (only,) = told[known.id]
                assert (only.original, only.unlearned, only.retrained) == (None, None, None)
                assert only.reason == f"needs {known.needs}, and here {ANSWERS[subject.task]}"
            else:
                assert known.id not in told


def test_shares_of_single_instances_need_a_confidence(everything):
    subject, found = everything
    told = value(found["instances"], f"instances.told_apart.{'forget' if subject.task == 'labels' else evidence.EVERYTHING}")
    assert (told.unlearned is None) == (subject.task == "number")
    assert subject.task == "labels" or "a confidence in the given answer" in told.reason


@pytest.mark.parametrize("task", ["labels", "number"])
@pytest.mark.parametrize("given", [{"retrains": 0}, {"unlearned": False}, {"forget": 1}, {"retrains": 2}])
def test_what_is_not_there_yet_is_missing_with_its_reason(task, given):
    subject = make_subject(task, **given)
    for name in evidence.registry():
        for m in evidence.compute(name, subject).measures:
            assert m.unlearned is not None or m.reason or given.get("unlearned") is False, m.id


def test_a_forget_set_without_any_label_says_so():
    subject = make_subject("labels")
    bare = subject.splits.train[~subject.targets[subject.splits.train].any(axis=1)]
    assert len(bare) > 2
    found = evidence.compute("utility", replace(subject, forget=bare, memo={}))
    assert value(found, "utility.f1.forget").reason == "no such instance has a label"


@pytest.mark.parametrize(("task", "strata"), [("labels", "groups"), ("number", "ranges")])
def test_too_few_test_instances_are_counted_in_what_labels_are(task, strata):
    subject = make_subject(task)
    rare = subject.labels.copy()
    rare[subject.splits.test] = np.arange(len(subject.splits.test)) % 4 + 1
    rare[subject.forget] = 0
    found = evidence.compute("privacy", replace(subject, labels=rare, memo={}))
    assert value(found, "privacy.lr_attack.forget").reason == f"needs 20 test instances of these {strata}, there are 0"


@pytest.mark.parametrize("task", ["labels", "number"])
def test_a_slice_needs_classes(task):
    subject = make_subject(task)
    with pytest.raises(BadInput, match=ANSWERS[task]):
        slice_views(subject, subject.forget[:3])


@pytest.mark.parametrize("task", ["labels", "number"])
def test_a_diverged_model_is_marked(task):
    subject = make_subject(task)
    broken = subject.unlearned.logits.copy()
    broken[::3] = np.nan
    subject = replace(subject, unlearned=Outputs(broken, subject.unlearned.layers), memo={})
    for name in evidence.registry():
        for m in evidence.compute(name, subject).measures:
            assert m.unlearned is None or np.isfinite(m.unlearned), m.id
