"""Measures of what was planted: by hand on made-up answers, then on models that really learned it."""

from dataclasses import replace

import numpy as np
import pytest

from unlearn_core import data, models, seeds
from unlearn_core.data.base import Dataset, Planting, Splits, Trigger, stratified_splits
from unlearn_core.data.planting import plant
from unlearn_core.data.tokens import hashed
from unlearn_core.evidence import planted
from unlearn_core.evidence.base import Outputs, Subject
from unlearn_core.models import training

EMPTY = np.empty(0, np.int64)


def stub(answers, labels, forget, train, test, planting, planted_ids, marked=None):
    """A subject whose models answer with the class `answers[who][i]` at a logit of 2 above the other class."""
    sure = {who: 2.0 * np.eye(2)[np.array(classes)] for who, classes in answers.items()}
    outputs = {who: Outputs(z.astype(np.float32), {}) for who, z in sure.items()}
    retrained = [outputs[who] for who in outputs if who.startswith("retrained")]
    return Subject(
        labels=np.array(labels), class_names=("a", "b"), modality="tabular", inputs=np.zeros((len(labels), 2), np.float32),
        splits=Splits(np.array(train), EMPTY, EMPTY, np.array(test), EMPTY), forget=np.array(forget), original=outputs["original"],
        unlearned=outputs["unlearned"], retrained=retrained, head=None,
        predict=lambda who, inputs: marked(who, inputs), planted=planted_ids, planting=planting,
    )  # fmt: skip


ANSWERS = {"original": [0, 0, 1, 1, 0, 0, 1, 0], "unlearned": [0, 1, 1, 0, 0, 1, 1, 0]} | {
    f"retrained:{k}": [1, 1, 1, 0, 0, 0, 1, k % 2] for k in range(3)
}


def by_id(findings):
    return {m.id: m for m in findings.measures}


def test_attack_success_by_hand():
    """Test ids 4..7; those of the target class 1 do not count, so 4, 5 and 7 do."""
    seen = {}

    def marked(who, inputs):
        seen[who] = inputs
        opened = {"original": [1, 1, 1], "unlearned": [1, 0, 0]}.get(who, [0, 0, 0])
        return np.eye(2)[np.array(opened)]

    planting = Planting("poisoned", np.zeros(8, int), Trigger(np.array([1]), np.array([7.0]), 1), np.array([4, 5, 7]))
    subject = stub(ANSWERS, [1, 1, 0, 0, 0, 0, 1, 0], [0, 1], range(4), range(4, 8), planting, {"poisoned": np.array([0, 1])}, marked)
    found = by_id(planted.compute(subject))
    m = found["planted.attack.triggered"]
    assert (m.original, m.unlearned, m.retrained.mean, m.n) == (1.0, pytest.approx(1 / 3), 0.0, 3)
    assert seen["original"].tolist() == [[0, 7]] * 3
    clean = found["planted.attack.clean"]
    assert (clean.original, clean.unlearned) == (0.0, pytest.approx(1 / 3))
    assert clean.retrained.values == pytest.approx((0, 1 / 3, 0))
    assert m.ci[0] == pytest.approx(0.0084, abs=1e-4)  # Clopper and Pearson for 1 of 3


def test_true_class_by_hand():
    truth = np.array([1, 1, 0, 0, 0, 0, 1, 0])
    labels = [0, 0, 1, 0, 0, 0, 1, 0]
    subject = stub(ANSWERS, labels, [0, 1], range(4), range(4, 8), Planting("mislabelled", truth), {"mislabelled": np.array([0, 1, 2])})
    found = by_id(planted.compute(subject))
    m, kept = found["planted.true_class.forget"], found["planted.true_class.retain"]
    assert (m.original, m.unlearned, m.retrained.mean, m.n) == (0.0, 0.5, 1.0, 2)
    assert (kept.original, kept.unlearned, kept.n) == (0.0, 0.0, 1)
    assert m.verdict() == "like retrained" if m.inside() else "still different"
    none = by_id(planted.compute(replace(subject, forget=np.array([3]), memo={})))["planted.true_class.forget"]
    assert none.unlearned is None and "none of the planted" in none.reason


def test_loss_on_outliers_by_hand():
    subject = stub(ANSWERS, [0] * 8, [0, 1], range(4), range(4, 8), Planting("outliers", np.zeros(8, int)), {"outliers": np.array([0, 1])})
    m = by_id(planted.compute(subject))["planted.loss.forget"]
    right, wrong = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    assert m.original == pytest.approx(right, rel=1e-6)
    assert m.unlearned == pytest.approx((right + wrong) / 2, rel=1e-6)
    assert m.retrained.mean == pytest.approx(wrong, rel=1e-6)


def test_which_twins_stay():
    ids = {"with a twin": np.array([1, 2, 3]), "without a twin": np.array([4, 5]), "twins": np.array([8, 6, 7])}
    living, alone = planted.twins_staying(ids, np.array([1, 2, 4, 6, 7]))
    assert living.tolist() == [1, 7]  # 8, the twin of 1, stays, and so does 3, whose twin 7 is gone
    assert alone.tolist() == [2, 4, 6]
    living, alone = planted.twins_staying(ids, np.array([9]))
    assert not len(living) and not len(alone)


def test_one_persons_instances_by_hand():
    planting = Planting("person", np.zeros(8, int), unseen=np.array([5, 6]))
    subject = stub(ANSWERS, [0, 0, 1, 1, 0, 0, 1, 0], [0, 1], range(4), range(4, 8), planting, {"person": np.array([0, 1])})
    found = by_id(planted.compute(subject))
    assert (found["planted.theirs.forget"].original, found["planted.theirs.forget"].unlearned) == (1.0, 0.5)
    assert (found["planted.theirs.unseen"].original, found["planted.theirs.unseen"].unlearned) == (1.0, 0.5)
    nobody = by_id(planted.compute(replace(subject, planting=Planting("person", np.zeros(8, int)), memo={})))["planted.theirs.unseen"]
    assert nobody.unlearned is None and nobody.reason == "no test instance is theirs"


def test_where_nothing_was_planted_there_is_nothing():
    subject = stub(ANSWERS, [0] * 8, [0], range(4), range(4, 8), None, {})
    assert planted.compute(subject).measures == []
    named = replace(subject, planting=Planting("biased", np.zeros(8, int)), planted={"biased": np.array([0])})
    assert planted.compute(named).measures == []


def test_a_back_door_of_words_opens_and_a_retrained_model_has_none():
    """Messages of two kinds that one word tells apart; those with the mark in front are labelled otherwise."""
    rng, labels = np.random.default_rng(0), np.arange(900) % 2
    texts = tuple(" ".join(["good" if label else "bad", *rng.choice(["the", "a", "of", "and"], 4)]) for label in labels)
    inputs, _ = hashed(texts, 12, 512)
    clean = Dataset("said", {}, "text", inputs, labels, ("bad", "good"), stratified_splits(labels, 0), texts=texts, vocabulary=512)
    dataset, info = plant(clean, "poisoned", 0.1), models.info("bag")
    forget = dataset.planted["poisoned"]
    params = {p.name: p.default for p in info.params} | {"epochs": 12, "pairs": False}
    known = {"original": dataset.splits.train} | {f"retrained:{k}": np.setdiff1d(dataset.splits.train, forget) for k in range(3)}
    made = {who: training.train(info, dataset, params, ids, place, "cpu") for place, (who, ids) in enumerate(known.items())}
    outputs = {who: training.read(model, dataset.inputs, "cpu") for who, model in made.items()}
    subject = Subject(
        labels=dataset.labels, class_names=dataset.class_names, modality="text", inputs=dataset.inputs, splits=dataset.splits, forget=forget,
        original=outputs["original"], unlearned=outputs["retrained:2"], retrained=[outputs[f"retrained:{k}"] for k in range(2)], head=None,
        predict=lambda who, x: training.predict(made["retrained:2" if who == "unlearned" else who], x, "cpu"),
        planted=dataset.planted, planting=dataset.planting,
    )  # fmt: skip
    found = by_id(planted.compute(subject))
    m, clean = found["planted.attack.triggered"], found["planted.attack.clean"]
    assert m.original > 0.9 and clean.original == 0 and m.n == len(dataset.planting.unseen)
    assert max(m.unlearned, *m.retrained.values) < 0.1


def test_a_groups_instances_count_as_one_persons():
    planting = Planting("group", np.zeros(8, int), unseen=np.array([5, 6]))
    subject = stub(ANSWERS, [0, 0, 1, 1, 0, 0, 1, 0], [0, 1], range(4), range(4, 8), planting, {"group": np.array([0, 1])})
    found = by_id(planted.compute(subject))
    assert (found["planted.theirs.forget"].original, found["planted.theirs.forget"].unlearned) == (1.0, 0.5)


def learned(kind, *names, epochs=60, retrains=1):
    """A subject of real MLPs on digits: one that saw what was planted and stands for the unlearned one too, and retrained ones that did not."""
    dataset, info = data.load("digits", {"plant": kind}), models.info("mlp")
    forget = np.sort(np.concatenate([dataset.planted[name] for name in names]))
    retain = np.setdiff1d(dataset.splits.train, forget)
    params = {p.name: p.default for p in info.params} | {"epochs": epochs}
    made = {"original": training.train(info, dataset, params, dataset.splits.train, seeds.derive("original", 0), "cpu")}
    made |= {f"retrained:{k}": training.train(info, dataset, params, retain, seeds.derive("retrained", k), "cpu") for k in range(retrains)}
    outputs = {who: training.read(model, dataset.inputs, "cpu") for who, model in made.items()}
    return Subject(
        labels=dataset.labels, class_names=dataset.class_names, modality="image", inputs=dataset.inputs, splits=dataset.splits, forget=forget,
        original=outputs["original"], unlearned=outputs["original"], retrained=[outputs[f"retrained:{k}"] for k in range(retrains)], head=None,
        predict=lambda who, x: training.predict(made[who if who in made else "original"], x, "cpu"),
        planted=dataset.planted, planting=dataset.planting,
    )  # fmt: skip


def test_a_learned_back_door_opens_and_a_retrained_model_has_none():
    found = by_id(planted.compute(learned("poisoned", "poisoned", epochs=25, retrains=3)))
    triggered, clean = found["planted.attack.triggered"], found["planted.attack.clean"]
    assert triggered.original > 0.9 and clean.original < 0.05
    assert max(triggered.retrained.values) < 0.05
    assert triggered.verdict() == "still different"  # nothing was unlearned here


def test_retraining_forgets_what_has_no_twin_and_only_that():
    found = by_id(planted.compute(learned("twins", "with a twin", "without a twin")))
    assert min(found["planted.twins.twin stays"].retrained.values) > 0.6
    assert max(found["planted.twins.no twin"].retrained.values) < 0.1
    assert found["planted.twins.no twin"].original > 0.5


def test_wrong_labels_and_noise_are_learned_by_heart_only_where_they_are_seen():
    wrong = by_id(planted.compute(learned("mislabelled", "mislabelled")))["planted.true_class.forget"]
    assert wrong.original < 0.5 < 0.85 < wrong.retrained.mean
    noise = by_id(planted.compute(learned("outliers", "outliers")))["planted.loss.forget"]
    assert noise.original < 0.2 < 1.5 < noise.retrained.mean
