"""Structure evidence against brute force, Gram forms, invariances, and cases whose right answer is known."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from evidence.subjects import make_subject

from unlearn_core.data.base import Splits
from unlearn_core.evidence import structure
from unlearn_core.evidence.base import Outputs, Subject
from unlearn_core.evidence.neighbourhoods import SETTLED, asked
from unlearn_core.evidence.similarity import chance_overlap, class_relations, debiased_cka, directions, kept, nearest, relation_drift


def rotation(d, rng):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def planted(features, unlearned=None, retrained=(), labels=None, forget=20, outside=10):
    """A subject whose training features are given; `outside` test instances follow."""
    n = len(features)
    rest = np.arange(n, n + outside)
    rng = np.random.default_rng(5)

    def outputs(z):
        z = np.vstack([z, rng.normal(size=(outside, z.shape[1]))]).astype(np.float32)
        return Outputs(z[:, :3].copy(), {"features": z})

    labels = np.arange(n) % 3 if labels is None else labels
    empty = np.empty(0, np.int64)
    return Subject(
        labels=np.concatenate([labels, np.zeros(outside, int)]),
        class_names=("a", "b", "c"),
        modality="points",
        inputs=np.zeros((n + outside, 2), np.float32),
        splits=Splits(np.arange(n), empty, empty, rest, empty),
        forget=np.arange(forget),
        original=outputs(features),
        unlearned=None if unlearned is None else outputs(unlearned),
        retrained=[outputs(z) for z in retrained],
        predict=None,
        head=None,
    )


def measures(subject):
    return {m.id: m for m in structure.compute(subject).measures}


# Similarity of feature spaces


def test_nearest_and_kept_equal_a_loop_over_all_pairs(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 7)), rng.normal(size=(60, 7))
    monkeypatch.setattr("unlearn_core.evidence.similarity.CHUNK", 60 * 9)  # nine queries a block, the last one smaller
    rows = rng.permutation(60)[:40]
    expected = []
    lists = {}
    for name, z in (("x", x), ("y", y)):
        c = z - z[10:].mean(axis=0)
        for i in rows:
            similar = [(c[i] @ c[j] / np.sqrt(c[i] @ c[i]) / np.sqrt(c[j] @ c[j]), j) for j in range(60) if j != i]
            lists[name, i] = [j for _, j in sorted(similar, reverse=True)[:5]]
    for i in rows:
        a, b = set(lists["x", i]), set(lists["y", i])
        expected.append(len(a & b) / len(a | b))
    near = {name: nearest(directions(z, z[10:].mean(axis=0)), rows, 5) for name, z in (("x", x), ("y", y))}
    assert near["x"].tolist() == [lists["x", i] for i in rows]  # nearest first
    np.testing.assert_allclose(kept(near["x"], near["y"]), expected, rtol=0, atol=1e-15)


def test_directions_of_a_dead_feature_space_hold_no_nan():
    assert np.array_equal(directions(np.ones((4, 3)), np.ones(3)), np.zeros((4, 3)))


def test_chance_overlap_is_the_mean_overlap_of_permuted_rows():
    rng = np.random.default_rng(1)
    unit = directions(rng.normal(size=(80, 6)), np.zeros(6))
    lists = nearest(unit, np.arange(80), 10)
    found = []
    for _ in range(300):
        order = rng.permutation(80)
        found.append(kept(lists, nearest(unit[order], np.arange(80), 10)).mean())
    assert chance_overlap(80, 10) == pytest.approx(np.mean(found), abs=4 * np.std(found) / np.sqrt(300))


def gram_cka(x, y):
    """Debiased CKA from n × n kernels, as the definition is written."""

    def hsic(k, m):
        n, one = len(k), np.ones(len(k))
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        total = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
        return total / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("wide", [6, 90])
def test_cka_from_features_equals_cka_from_kernels(wide):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, wide)) + 0.2  # not centred: the kernels are, by themselves
    y = np.tanh(x[:, :5]) @ rng.normal(size=(5, 8))
    assert debiased_cka(x, y) == pytest.approx(gram_cka(x, y), abs=1e-12)


def test_cka_is_symmetric_and_blind_to_rotation_scale_and_shift():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 12)) * np.linspace(1, 4, 12)
    y = x[:, :4] ** 2
    assert debiased_cka(x, x) == pytest.approx(1.0, abs=1e-12)
    assert debiased_cka(x, 7 * x @ rotation(12, rng) + 5) == pytest.approx(1.0, abs=1e-10)
    assert debiased_cka(x, y) == pytest.approx(debiased_cka(y, x), abs=1e-14)
    assert debiased_cka(x @ rotation(12, rng), y) == pytest.approx(debiased_cka(x, y), abs=1e-12)


def test_cka_of_few_wide_random_features_is_near_zero_where_the_biased_one_is_high():
    rng = np.random.default_rng(4)
    biased, debiased = [], []
    for _ in range(20):
        x, y = (z - z.mean(axis=0) for z in rng.normal(size=(2, 50, 512)))
        biased.append(np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y))
        debiased.append(debiased_cka(x, y))
    assert np.mean(biased) == pytest.approx(0.91, abs=0.01)
    assert np.mean(debiased) == pytest.approx(0.0, abs=0.05)


def test_cka_says_nothing_about_three_points_or_a_constant_layer():
    x = np.random.default_rng(0).normal(size=(8, 2))
    assert debiased_cka(x[:3], x[:3]) is None
    assert debiased_cka(x, np.ones((8, 2))) is None


def test_relations_ignore_rotation_and_shift_but_see_a_moved_class():
    rng = np.random.default_rng(6)
    labels = np.arange(120) % 4
    x = rng.normal(size=(120, 9)) + 3 * rng.normal(size=(4, 9))[labels]
    before = class_relations(x, labels, np.arange(4))
    turned = class_relations(2 * x @ rotation(9, rng) + 11, labels, np.arange(4))
    np.testing.assert_allclose(before, turned, atol=1e-12)
    np.testing.assert_allclose(np.diag(before), 1.0)
    x[labels == 2] += 10
    assert relation_drift(before, class_relations(x, labels, np.arange(4))) > 0.1


def test_drift_of_known_matrices_leaves_the_diagonal_out():
    a = np.zeros((3, 3))
    b = np.array([[9, 0.1, 0.2], [0.1, 9, -0.3], [0.2, -0.3, 9]])
    assert relation_drift(a, b) == pytest.approx(0.2)


# The evidence


def test_a_rotated_and_shifted_model_keeps_every_neighbour():
    rng = np.random.default_rng(7)
    z = rng.normal(size=(150, 8))
    found = measures(planted(z, 3 * z @ rotation(8, rng) + 4))
    for group in ("retain", "neighbours", "forget"):
        assert found[f"structure.knn_overlap.{group}"].unlearned == pytest.approx(1.0)
    assert found["structure.cka.layer:features"].unlearned == pytest.approx(1.0, abs=1e-6)
    assert found["structure.relation_drift.retain"].unlearned == pytest.approx(0.0, abs=1e-5)


def test_scrambled_forget_features_leave_cka_high_and_their_neighbours_gone():
    rng = np.random.default_rng(8)
    labels = np.arange(1000) % 3
    z = rng.normal(size=(1000, 32)) + 4 * rng.normal(size=(3, 32))[labels]
    thrown = z.copy()
    thrown[:20] = z.mean(axis=0) + rng.normal(size=(20, 32)) * 4  # not members of any class any more
    found = measures(planted(z, thrown, labels=labels))
    assert found["structure.cka.layer:features"].unlearned > 0.96
    assert debiased_cka(z, thrown) > 0.96  # also where the thrown instances count themselves
    assert found["structure.knn_overlap.forget"].unlearned < 0.02
    assert found["structure.knn_overlap.retain"].unlearned > 0.9


def test_groups_are_what_they_are_called():
    rng = np.random.default_rng(9)
    subject = planted(rng.normal(size=(90, 5)), rng.normal(size=(90, 5)), forget=4)
    view = structure.compute(subject).views["kept"]
    z = subject.original.features[:90].astype(float)
    z = z - z[4:].mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    near = {j for i in range(4) for j in np.argsort(-np.where(np.arange(90) == i, -9, z @ z[i]))[:10] if j >= 4}
    assert set(view["ids"][view["group"] == 2]) == set(range(4))
    assert set(view["ids"][view["group"] == 1]) == near
    assert set(view["ids"]) == set(range(90))


def test_noop_keeps_everything_while_retraining_does_not():
    found = measures(make_subject("moons", unlearned="noop"))
    for group in ("retain", "neighbours", "forget"):
        m = found[f"structure.knn_overlap.{group}"]
        assert (m.original, m.unlearned) == (1.0, 1.0) and max(m.retrained.values) < 0.9
    rest = found["structure.residual_similarity.forget"]
    assert rest.unlearned == pytest.approx(1.0) and rest.retrained.mean == pytest.approx(0.0, abs=1e-12)
    assert rest.inside() is False
    assert not found["structure.knn_overlap.forget"].inside()
    assert "retraining gives, not 1" in next(d.text for d in structure.EVIDENCE.definitions if d.id == "structure.knn_overlap")


def test_residual_and_preservation_follow_their_formulas():
    subject = make_subject("digits", unlearned="retrain")
    found = measures(subject)
    forget, retain = found["structure.knn_overlap.forget"], found["structure.knn_overlap.retain"]
    level = forget.retrained.mean
    assert level < SETTLED
    assert found["structure.residual_similarity.forget"].unlearned == pytest.approx((forget.unlearned - level) / (1 - level))
    assert found["structure.residual_similarity.forget"].inside() == forget.inside()
    between = [found_pair(subject, a, b) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert retain.null == pytest.approx((min(between), max(between)))
    chance = chance_overlap(len(subject.splits.train), 10)
    assert found["structure.preservation.retain"].unlearned == pytest.approx((retain.unlearned - chance) / (np.mean(between) - chance))


def found_pair(subject, a, b):
    """Kept neighbours on retained instances between two retrained models, from scratch."""
    train, retain = subject.splits.train, subject.retain
    lists = []
    for k in (a, b):
        z = subject.retrained[k].features.astype(float)
        lists.append(nearest(directions(z[train], z[retain].mean(axis=0)), np.flatnonzero(np.isin(train, retain)), 10))
    return kept(*lists).mean()


def test_nothing_to_tell_apart_is_said():
    rng = np.random.default_rng(10)
    z = rng.normal(size=(100, 6))
    found = measures(planted(z, z, [z @ rotation(6, rng) for _ in range(3)]))
    rest = found["structure.residual_similarity.forget"]
    assert rest.unlearned is None and "keeps 100%" in rest.reason


def test_works_before_retraining_and_says_what_it_waits_for():
    subject = make_subject("digits")
    full = measures(replace(subject, memo={}))
    early = structure.compute(replace(subject, retrained=[]))
    found = {m.id: m for m in early.measures}
    assert found.keys() == full.keys()
    assert found["structure.knn_overlap.forget"].unlearned == 1.0 and "not there yet" in found["structure.knn_overlap.forget"].reason
    for id in ("structure.residual_similarity.forget", "structure.cka_to_retrained.layer:features"):
        assert found[id].unlearned is None and found[id].reason
    assert early.views["kept"]["retrained"].shape == (0, len(early.views["kept"]["ids"]))
    for k in range(4):  # the same memo, one model more each time
        late = measures(replace(subject, retrained=subject.retrained[:k]))
    assert {i: m.to_dict() for i, m in late.items()} == {i: m.to_dict() for i, m in full.items()}


def test_views_have_their_shapes_and_neighbours_are_training_instances():
    subject = make_subject("digits", unlearned="retrain")
    views = structure.compute(subject).views
    f, n = len(subject.forget), len(views["kept"]["ids"])
    assert views["kept"]["unlearned"].shape == (n,) and views["kept"]["retrained"].shape == (3, n)
    assert views["neighbours"]["ids"].tolist() == sorted(subject.forget)
    for key in ("original", "unlearned"):
        lists = views["neighbours"][key]
        assert lists.shape == (f, 10) and np.isin(lists, subject.splits.train).all()
        assert not (lists == views["neighbours"]["ids"][:, None]).any()
    assert views["relations"]["original"].shape == (10, 10) and views["relations"]["retrained"].shape == (3, 10, 10)
    assert views["cka"]["layers"].tolist() == ["hidden1", "features"] and views["cka"]["null"].shape == (3, 2)
    for view in views.values():
        for array in view.values():
            assert array.dtype != object and (array.dtype.kind in "US" or np.isfinite(array).all())


def test_every_measure_has_its_definition():
    declared = {d.id for d in structure.EVIDENCE.definitions}
    used = {m.family for m in structure.compute(make_subject("digits")).measures}
    assert used == declared


def test_too_little_to_measure_gives_reasons_and_no_nan():
    two = measures(make_subject("moons"))["structure.relation_drift.retain"]
    assert two.unlearned is None and "three classes" in two.reason
    z = np.random.default_rng(0).normal(size=(6, 3))
    few = measures(planted(z, z, forget=3))
    assert "four retained" in few["structure.cka.layer:features"].reason
    everything = measures(planted(z, z, forget=6))
    assert all(m.reason for m in everything.values())
    nothing = measures(planted(z, z, forget=0))
    assert nothing["structure.knn_overlap.forget"].reason == "there are no such instances"


def test_a_diverged_or_layerless_unlearned_model_keeps_the_other_models_numbers():
    subject = make_subject("digits")
    broken = Outputs(subject.original.logits, {k: np.full_like(v, np.nan) for k, v in subject.original.layers.items()})
    for unlearned, words in ((broken, "diverged"), (Outputs(subject.original.logits, {}), "ensemble")):
        found = measures(replace(subject, unlearned=unlearned, memo={}))
        m = found["structure.knn_overlap.forget"]
        assert m.unlearned is None and words in m.reason and m.reliability == "weak" and len(m.retrained.values) == 3


def test_large_sets_are_probed_with_the_forget_set_and_its_neighbours(monkeypatch):
    rng = np.random.default_rng(11)
    subject = planted(rng.normal(size=(3000, 6)), rng.normal(size=(3000, 6)), forget=15)
    found = structure.compute(subject)
    ask, m = asked(subject), {m.id: m for m in found.measures}["structure.knn_overlap.retain"]
    assert ask["probe"].sum() == 2000 == m.n and m.reliability == "estimate" and "sample" in m.reason
    assert (ask["group"] == 2).sum() == 15 and m.ci[0] < m.unlearned < m.ci[1]
    assert len(ask["rows"]) < 2200


def test_structure_is_quick_enough_to_follow_arriving_models():
    rng = np.random.default_rng(12)
    z = [rng.normal(size=(1170, 128)) for _ in range(5)]
    subject = planted(z[0], z[1], z[2:], forget=40)
    start = time.perf_counter()
    structure.compute(subject)
    assert time.perf_counter() - start < 3  # 0.3 s on two idle cores


def test_the_declarations_import_neither_torch_nor_sklearn_nor_scipy():
    code = (
        "import sys, unlearn_core.evidence.structure, unlearn_core.evidence.privacy;"
        "assert not {'torch', 'sklearn', 'scipy', 'streamlit', 'plotly'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
