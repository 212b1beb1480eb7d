"""Drift from the stakes and the layer-wise scores, against loops written from their definitions and cases whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from evidence.subjects import make_subject
from evidence.test_structure import measures, planted, rotation

from unlearn_core.data.base import Splits
from unlearn_core.evidence import structure
from unlearn_core.evidence.base import Outputs
from unlearn_core.evidence.similarity import chance_overlap, directions, kept, nearest

DRIFT, CLOSE = "structure.stake_drift", "structure.stake_drift_to_retrained"


def drift_by_loop(subject, layer, a, b, ids):
    """Mean over `ids` and classes of |cos(z - m, c_k - m) of a - the same of b|, in plain words."""
    found = []
    for who in (a, b):
        z = {"original": subject.original, "unlearned": subject.unlearned}.get(who) or subject.retrained[int(who[-1])]
        z = z.layers[layer].astype(float)
        retain = [i for i in subject.splits.train if i not in set(subject.forget)]
        m = sum(z[i] for i in retain) / len(retain)
        rows = []
        for i in ids:
            row = []
            for c in sorted(set(subject.labels[retain])):
                inside = [z[j] for j in retain if subject.labels[j] == c]
                to = sum(inside) / len(inside) - m
                row.append((z[i] - m) @ to / np.sqrt((z[i] - m) @ (z[i] - m) * (to @ to)))
            rows.append(row)
        found.append(np.array(rows))
    return np.abs(found[0] - found[1]).mean()


def test_drift_equals_its_definition_in_every_layer_and_group():
    rng = np.random.default_rng(0)
    subject = planted(rng.normal(size=(40, 5)), rng.normal(size=(40, 5)), [rng.normal(size=(40, 5)) for _ in range(3)], forget=7)
    for outputs in (subject.original, subject.unlearned, *subject.retrained):
        outputs.layers = {"first": rng.normal(size=(50, 9)).astype(np.float32)} | outputs.layers
    found = measures(subject)
    for layer in ("first", "features"):
        for group, ids in (("retain", range(7, 40)), ("forget", range(7))):
            m = found[f"{DRIFT}.layer:{layer}:{group}"]
            loop = lambda a, b, layer=layer, ids=ids: drift_by_loop(subject, layer, a, b, ids)  # noqa: E731
            assert m.original == 0 and m.n == len(ids) and m.reliability == "exact"
            assert m.unlearned == pytest.approx(loop("original", "unlearned"), abs=1e-9)
            assert m.retrained.values == pytest.approx([loop("original", f"retrained:{k}") for k in range(3)], abs=1e-9)
            between = [loop(f"retrained:{a}", f"retrained:{b}") for a, b in ((0, 1), (0, 2), (1, 2))]
            assert m.null == pytest.approx((min(between), max(between)), abs=1e-9)
            close = found[f"{CLOSE}.layer:{layer}:{group}"]
            assert close.unlearned == pytest.approx(np.mean([loop("unlearned", f"retrained:{k}") for k in range(3)]), abs=1e-9)
            assert close.original == pytest.approx(np.mean(m.retrained.values), abs=1e-9)


def test_a_model_that_is_only_turned_scaled_and_shifted_has_not_drifted():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(150, 8)) + 2 * rng.normal(size=(3, 8))[np.arange(150) % 3]
    found = measures(planted(z, 3 * z @ rotation(8, rng) + 4))
    for group in ("retain", "forget"):
        assert found[f"{DRIFT}.layer:features:{group}"].unlearned == pytest.approx(0, abs=1e-5)


def test_only_the_moved_group_drifts():
    rng = np.random.default_rng(2)
    labels = np.arange(300) % 3
    centres = 6 * np.eye(8)[:3]
    z = rng.normal(size=(300, 8)) + centres[labels]
    moved = z.copy()
    moved[:20] += centres[(labels[:20] + 1) % 3] - centres[labels[:20]]  # the forgotten ones now stand with another class
    found = measures(planted(z, moved, labels=labels))
    assert found[f"{DRIFT}.layer:features:forget"].unlearned > 0.5
    # not one stake moved: they are centres of retained instances only
    assert found[f"{DRIFT}.layer:features:retain"].unlearned == pytest.approx(0, abs=1e-6)


def test_two_classes_have_stakes_and_one_has_none():
    two = measures(make_subject("moons"))[f"{CLOSE}.layer:features:forget"]
    assert two.original == two.unlearned and len(two.retrained.values) == 3 and two.null
    z = np.random.default_rng(3).normal(size=(30, 4))
    one = measures(planted(z, z, labels=np.zeros(30, int)))
    assert "two classes" in one[f"{DRIFT}.layer:features:retain"].reason and one[f"{DRIFT}.layer:features:retain"].unlearned is None


def test_its_view_holds_every_instance_of_its_means():
    subject = make_subject("digits", unlearned="retrain")
    found = structure.compute(subject)
    view = found.views["stakes"]
    by_id = {m.id: m for m in found.measures}
    for code, group in ((2, "forget"), (0, "retain")):
        members = view["group"] == 2 if code == 2 else view["probe"]
        m = by_id[f"{DRIFT}.layer:features:{group}"]
        assert view["unlearned"][members].mean() == pytest.approx(m.unlearned)
        assert view["retrained"][:, members].mean(axis=1) == pytest.approx(m.retrained.values)
    assert by_id[f"{CLOSE}.layer:features:forget"].verdict() is not None


def test_scores_of_inner_layers_follow_their_formulas():
    subject = make_subject("digits", unlearned="retrain")
    found = measures(subject)
    train = subject.splits.train
    gone = np.isin(train, subject.forget)

    def share(a, b, members):
        lists = []
        for outputs in (a, b):
            z = outputs.layers["hidden1"].astype(float)
            lists.append(nearest(directions(z[train], z[subject.retain].mean(axis=0)), np.flatnonzero(members), 10))
        return kept(*lists).mean()

    level = np.mean([share(subject.original, r, gone) for r in subject.retrained])
    left = found["structure.residual_similarity.layer:hidden1"]
    assert left.unlearned == pytest.approx((share(subject.original, subject.unlearned, gone) - level) / (1 - level))
    assert left.original == pytest.approx(1) and left.retrained.mean == pytest.approx(0, abs=1e-12)
    between = [share(subject.retrained[a], subject.retrained[b], ~gone) for a, b in ((0, 1), (0, 2), (1, 2))]
    chance = chance_overlap(len(train), 10)
    kept_ = found["structure.preservation.layer:hidden1"]
    assert kept_.unlearned == pytest.approx((share(subject.original, subject.unlearned, ~gone) - chance) / (np.mean(between) - chance))
    assert kept_.null == pytest.approx([(x - chance) / (np.mean(between) - chance) for x in (min(between), max(between))])


def test_inner_layers_look_for_no_neighbours_before_there_is_something_to_compare_with(monkeypatch):
    from unlearn_core.evidence import neighbourhoods

    searched, actual = [], neighbourhoods.nearest
    monkeypatch.setattr(neighbourhoods, "nearest", lambda *given: searched.append(len(given[1])) or actual(*given))
    subject = make_subject("digits")
    early = {m.id: m for m in structure.compute(replace(subject, retrained=[])).measures}
    assert len(searched) == 2  # the features of the original and of the unlearned model
    assert "not there yet" in early["structure.preservation.layer:hidden1"].reason
    structure.compute(subject)
    assert len(searched) == 2 + 3 + 5


def test_a_large_set_is_sampled_in_its_inner_layers_and_says_so():
    rng = np.random.default_rng(4)
    n, outside = 2600, np.empty(0, np.int64)
    models = [Outputs(rng.normal(size=(n, 3)).astype(np.float32), {}) for _ in range(4)]
    for outputs in models:
        outputs.layers = {"wide": rng.normal(size=(n, 6)).astype(np.float32), "features": rng.normal(size=(n, 4)).astype(np.float32)}
    subject = replace(
        planted(np.zeros((n, 4)), outside=0, forget=30),
        splits=Splits(np.arange(n), outside, outside, outside, outside),
        original=models[0],
        unlearned=models[1],
        retrained=models[2:],
    )
    found = measures(subject)
    m = found["structure.residual_similarity.layer:wide"]
    assert m.n == 30 and m.reliability == "estimate" and "2,030" in m.reason
    drift = found[f"{DRIFT}.layer:wide:retain"]
    assert drift.n == 2000 and drift.reliability == "estimate" and found[f"{DRIFT}.layer:wide:forget"].reliability == "exact"
