"""The boundary: exact numbers by brute force, slices by geometry, the map by its definition."""

import functools
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import evidence.subjects as subjects
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import roc_auc_score

from unlearn_core.errors import BadInput
from unlearn_core.evidence import boundary, definition, nearest, overview, regions, slices, utility
from unlearn_core.evidence.base import Outputs
from unlearn_core.evidence.logits import js_divergence, margins


def found(subject):
    return {m.id: m for m in boundary.compute(subject).measures}


@pytest.fixture(scope="module")
def digits():
    return subjects.make_subject("digits", unlearned="retrain", forget=25)


@pytest.fixture(scope="module")
def moons():
    return subjects.make_subject("moons", unlearned="retrain")


# Exact numbers


def test_margins_by_brute_force():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(60, 4)), rng.integers(0, 4, 60)
    brute = [z[i, y[i]] - max(z[i, c] for c in range(4) if c != y[i]) for i in range(60)]
    assert margins(z, y) == pytest.approx(brute)
    assert ((margins(z, y) > 0) == (z.argmax(axis=1) == y)).all()
    assert margins(np.array([[2.0, 2.0]]), np.array([0]))[0] == 0


def test_divergence_is_jensen_shannon_in_bits():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet([0.3] * 5, 40), rng.dirichlet([0.3] * 5, 40)
    expected = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    assert js_divergence(np.log(p), np.log(q)) == pytest.approx(expected, abs=1e-12)
    assert js_divergence(np.log(p), np.log(p)) == pytest.approx(np.zeros(40), abs=1e-12)
    disjoint = np.array([[0.0, -800.0]]), np.array([[-800.0, 0.0]])
    assert js_divergence(*disjoint) == pytest.approx([1.0])


def test_divergence_is_per_instance_and_does_not_shrink_with_batch_or_classes():
    """Some published code averages over batch times classes, and takes the relative entropy in the wrong direction."""
    p, q = np.log(np.array([[0.7, 0.2, 0.1]])), np.log(np.array([[0.1, 0.2, 0.7]]))
    alone = js_divergence(p, q)
    assert js_divergence(np.repeat(p, 9, axis=0), np.repeat(q, 9, axis=0)) == pytest.approx(np.repeat(alone, 9))
    pad = np.full((1, 20), -700.0)
    assert js_divergence(np.hstack([p, pad]), np.hstack([q, pad])) == pytest.approx(alone)
    assert js_divergence(p, q) == pytest.approx(js_divergence(q, p))


def test_flips_agreement_and_divergence_by_hand(digits):
    got, test = found(digits), digits.splits.test
    guess = {who: digits.outputs(who).logits[test].argmax(axis=1) for who in digits.names()}
    retrained = [f"retrained:{k}" for k in range(3)]
    m = got["boundary.flips.test"]
    assert m.original == 0 and m.unlearned == np.mean(guess["unlearned"] != guess["original"])
    assert m.retrained.values == tuple(np.mean(guess[r] != guess["original"]) for r in retrained)
    m = got["boundary.agreement.test"]
    assert m.unlearned == pytest.approx(np.mean([np.mean(guess["unlearned"] == guess[r]) for r in retrained]))
    pairs = {pair: np.mean(guess[pair[0]] == guess[pair[1]]) for pair in combinations(retrained, 2)}
    assert m.retrained.mean == pytest.approx(np.mean(list(pairs.values())))


def test_agreement_is_not_called_iou():
    """A published comparison of regions names plain agreement “IoU”; ours carries its own name."""
    assert "IoU" not in definition("boundary.agreement").title + definition("boundary.plane_agreement").title


def test_neighbours_are_the_nearest_retained_by_original_features(digits):
    features, expected = digits.original.features.astype(np.float64), set()
    features = features - features[digits.retain].mean(axis=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    for i in digits.forget:
        distance = 1 - features[digits.retain] @ features[i]
        expected |= set(digits.retain[np.argsort(distance)[:10]].tolist())
    assert set(nearest.neighbours(digits).tolist()) == expected
    to_set = np.array([(1 - features[digits.forget] @ features[j]).min() for j in digits.retain])
    assert nearest.closest(digits).tolist() == digits.retain[np.argsort(to_set)[:30]].tolist()


def test_margin_view_holds_forgotten_and_nearest_instances(digits):
    view = boundary.compute(digits).views["margins"]
    assert view["ids"][view["forgotten"]].tolist() == digits.forget.tolist() and (~view["forgotten"]).sum() == 30
    assert view["retrained"].shape == (3, 55)
    assert view["unlearned"] == pytest.approx(margins(digits.unlearned.logits, digits.labels)[view["ids"]])


# What the evidence says of whole runs


def test_no_op_agrees_with_the_original_and_flips_nothing():
    got = found(subjects.make_subject("moons"))
    for group in ("forget", "neighbours", "retain", "test"):
        assert got[f"boundary.flips.{group}"].unlearned == 0
    assert got["boundary.region_change.plane"].unlearned == 0
    assert got["boundary.agreement.test"].unlearned == got["boundary.agreement.test"].original
    assert got["boundary.map_fidelity.flipped"].reason == "no predicted label changed"


def test_no_op_on_mislabelled_points_lies_outside_what_retraining_gives(monkeypatch):
    monkeypatch.setattr(subjects, "Net", functools.partial(subjects.Net, epochs=600))
    noop = subjects.make_subject("moons", retrains=5, forget=6)
    got = found(noop) | {m.id: m for m in utility.compute(noop).measures}
    for id in ("utility.loss.forget", "boundary.margin.forget", "boundary.js.forget"):
        assert got[id].inside() is False, id
    assert got["utility.loss.forget"].unlearned < got["utility.loss.forget"].retrained.low  # still remembered


def test_first_call_without_retrained_models_gives_the_rest_and_reasons():
    for kind in ("moons", "digits"):
        subject = subjects.make_subject(kind)
        late, subject.retrained = subject.retrained, []
        first = boundary.compute(subject)
        by_id = {m.id: m for m in first.measures}
        assert by_id["boundary.margin.forget"].unlearned is not None
        assert "not there yet" in by_id["boundary.js.test"].reason and by_id["boundary.js.test"].unlearned is None
        subject.retrained = late
        second = boundary.compute(subject)
        assert [m.id for m in first.measures] == [m.id for m in second.measures]
        assert all(first.views[v].keys() <= second.views[v].keys() for v in second.views)
        assert second.views["segment"]["retrained"].shape == (3, 81)
        for measure in second.measures:
            assert definition(measure.family).text
            assert all(v is None or np.isfinite(v) for v in (measure.original, measure.unlearned))


def test_a_diverged_model_gives_numbers_and_a_warning():
    subject = subjects.make_subject("moons")
    subject.unlearned = Outputs(np.full_like(subject.unlearned.logits, np.nan), subject.unlearned.layers)
    measure = found(subject)["boundary.js.test"]
    assert np.isfinite(measure.unlearned) and measure.reliability == "weak" and "no numbers" in measure.reason


def test_declarations_need_neither_torch_nor_scipy():
    code = "import sys, unlearn_core.evidence.utility, unlearn_core.evidence.boundary; print({'torch', 'scipy', 'sklearn', 'streamlit'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


# Slices


def test_three_samples_map_back_to_their_coordinates():
    rng = np.random.default_rng(0)
    x = rng.random((3, 1, 8, 8)).astype(np.float32)
    p = slices.plane(*x, grid=21)
    flat = x.reshape(3, -1).astype(np.float64)
    assert p.origin + p.corners @ p.basis == pytest.approx(flat, abs=1e-5)
    assert (flat - p.origin) @ p.basis.T == pytest.approx(p.corners, abs=1e-5)
    assert p.basis @ p.basis.T == pytest.approx(np.eye(2), abs=1e-12)
    assert p.points.shape == (441, 1, 8, 8)
    assert p.points[3 * 21 + 5].ravel() == pytest.approx(p.origin + p.a[5] * p.basis[0] + p.b[3] * p.basis[1], abs=1e-6)
    assert p.a[0] < p.corners[:, 0].min() and p.a[-1] > p.corners[:, 0].max()


@pytest.mark.parametrize("third", [[2.0, 4.0, 6.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
def test_collinear_samples_are_refused(third):
    with pytest.raises(BadInput, match="one line"):
        slices.plane(np.zeros(3), np.array([1.0, 2.0, 3.0]), np.array(third))
    with pytest.raises(BadInput, match="one line"):
        slices.plane(np.zeros(3), np.zeros(3), np.array([1.0, 2.0, 3.0]))


def test_triplet_is_nearest_of_the_same_and_of_the_competing_class(digits):
    i = int(digits.forget[3])
    first, second, third = slices.choose_triplet(digits, i)
    label, z = digits.labels[i], digits.original.logits[i].copy()
    z[label] = -np.inf
    distance = np.linalg.norm(digits.original.features[digits.retain] - digits.original.features[i], axis=1)
    same, rival = digits.labels[digits.retain] == label, digits.labels[digits.retain] == z.argmax()
    assert first == i
    assert second == digits.retain[same][distance[same].argmin()] and third == digits.retain[rival][distance[rival].argmin()]


def test_plane_shows_what_the_models_predict(digits):
    views = slices.slice_views(digits, slices.choose_triplet(digits, int(digits.forget[0])))
    view = views["plane"]
    p = slices.plane(*digits.inputs[view["corner_ids"]], grid=60)
    expected = digits.predict("retrained:1", p.points).argmax(axis=1).reshape(60, 60)
    assert (view["retrained"][1] == expected).all()
    assert view["fade"].max() <= 1 and view["fade"][0, -1] < view["fade"].max()
    measure = found(digits)["boundary.plane_agreement.plane"]
    grids = view["retrained"]
    assert measure.unlearned == pytest.approx(np.mean([(view["unlearned"] == g).mean() for g in grids]))
    assert measure.retrained.mean == pytest.approx(np.mean([(a == b).mean() for a, b in combinations(grids, 2)]))


def test_path_starts_and_ends_at_the_instances(digits):
    view = slices.slice_views(digits, digits.forget[:3])["segment"]
    z = digits.unlearned.logits[digits.forget[:3]].astype(np.float64)
    at_samples = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))[:, view["label"][0]]
    assert view["unlearned"][[40, 0, 80]] == pytest.approx(at_samples, abs=1e-5)
    assert view["t"][[0, 40, 80]].tolist() == [-1, 0, 1]


def test_chosen_triplet_is_used_and_a_poor_one_costs_only_the_slice(digits):
    subject = subjects.make_subject("digits", retrains=0)
    subject.settings["triplet"] = [5, 6, 7]
    assert boundary.compute(subject).views["plane"]["corner_ids"].tolist() == [5, 6, 7]
    subject.settings["triplet"] = [5, 5, 7]
    findings = boundary.compute(subject)
    assert "plane" not in findings.views and "overview" in findings.views
    assert "three different" in {m.id: m for m in findings.measures}["boundary.plane_agreement.plane"].reason
    for bad in ([1, 2], [1, 2, 10**6], [-1, 2, 3]):
        with pytest.raises(BadInput):
            slices.slice_views(subject, bad)


def test_duplicates_of_the_instance_are_passed_over():
    subject = subjects.make_subject("digits", retrains=0)
    i = int(subject.forget[0])
    _, twin, _ = slices.choose_triplet(subject, i)
    subject.inputs = subject.inputs.copy()
    subject.inputs[twin] = subject.inputs[i]
    assert slices.choose_triplet(subject, i)[1] != twin


# Regions of two-dimensional data


def test_regions_are_the_predictions_on_the_grid(moons):
    view = boundary.compute(moons).views["regions"]
    r, c = np.random.default_rng(0).integers(0, 160, (2, 500))
    points = np.stack([view["x"][c], view["y"][r]], axis=-1).astype(np.float32)
    for who in ("original", "unlearned"):
        assert (view[who][r, c] == moons.predict(who, points).argmax(axis=1)).all()
    assert view["retrained"].shape == (3, 160, 160) and view["original"].dtype == np.uint8
    span = np.ptp(moons.inputs[:, 0])
    assert view["x"][0] == pytest.approx(moons.inputs[:, 0].min() - 0.1 * span, abs=1e-5)
    measure = found(moons)["boundary.region_change.plane"]
    assert measure.original == 0 and measure.unlearned == (view["unlearned"] != view["original"]).mean() > 0
    assert "plane" not in boundary.compute(moons).views  # its plane is the whole plane


def test_density_lies_where_the_data_lie():
    rng = np.random.default_rng(0)
    x, y = np.linspace(-5, 5, 80), np.linspace(-4, 4, 60)
    got = regions.density(rng.normal((1.5, -1), 0.3, (500, 2)), x, y)
    assert got.shape == (60, 80) and got.sum() == pytest.approx(1, abs=1e-4)
    assert (got.sum(axis=0) * x).sum() == pytest.approx(1.5, abs=0.1) and (got.sum(axis=1) * y).sum() == pytest.approx(-1, abs=0.1)


# The overview map


def test_one_neighbour_at_an_instance_returns_its_own_value():
    layout, values = np.array([[0.0, 0.0], [1.0, 0.0], [0.3, 1.0]]), np.array([3.0, 5.0, 9.0])
    distance = np.zeros((3, 1))
    assert overview.weights(distance, np.arange(3)[:, None], 3) @ values == pytest.approx(values)
    s = overview.smoother(layout, grid=3, k=1)
    assert s.left_out @ values == pytest.approx([5.0, 3.0, 3.0])  # left out, the nearest other one speaks


def test_weights_are_the_adaptive_gaussian_average():
    distance = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.9]])
    w = np.exp(-0.5 * (distance[0] / 0.5) ** 2)
    values = np.array([4.0, 1.0, 0.0, 2.0, 8.0, 3.0])
    assert overview.weights(distance, np.arange(6)[None], 6) @ values == pytest.approx([(w * values).sum() / w.sum()])


def test_cells_far_from_data_are_masked_and_duplicates_are_no_problem():
    layout = np.vstack([np.zeros((40, 2)), np.ones((40, 2))])
    s = overview.smoother(layout, grid=50)
    assert 0 < s.kept.sum() < 40
    values = np.repeat([0.0, 1.0], 40)
    assert s.left_out @ values == pytest.approx(values)
    assert np.isfinite(s.cells @ values).all() and s.left_out.diagonal().max() == 0


def test_fidelity_is_leave_one_out_agreement(digits):
    measure = found(digits)["boundary.map_fidelity.forget"]
    train, layout = digits.splits.train, digits.layout.astype(np.float64)
    z = digits.unlearned.logits[train].astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    hits = []
    for row in np.flatnonzero(np.isin(train, digits.forget)):
        d = np.linalg.norm(layout - layout[row], axis=1)
        d[row] = np.inf
        near = np.argsort(d)[:15]
        w = np.exp(-0.5 * (d[near] / d[near][4]) ** 2)
        hits.append((w @ p[near]).argmax() == p[row].argmax())
    assert measure.unlearned == pytest.approx(np.mean(hits)) and measure.reliability == "estimate"


def test_map_view_and_noise_floor(digits):
    view = boundary.compute(digits).views["overview"]
    masked = view["region_original"] < 0
    for layer in ("delta", "delta_retrained", "delta_noise"):
        assert np.isnan(view[layer][masked]).all() and np.isfinite(view[layer][~masked]).all() and view[layer][~masked].max() <= 1
    before, after = (digits.outputs(who).logits.argmax(axis=1) for who in ("original", "unlearned"))
    flipped = digits.splits.train[(before != after)[digits.splits.train]]
    assert view["flip_ids"].tolist() == flipped.tolist() and len(flipped)
    assert (view["flip_from"] == before[flipped]).all() and (view["flip_to"] == after[flipped]).all()
    change = found(digits)["boundary.map_change.map"]
    assert change.unlearned == pytest.approx(np.nanmean(view["delta"]), rel=1e-5) and change.null[0] > 0


def test_auc_equals_scikit_learn_and_few_flips_are_refused(digits):
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.3
    assert overview.auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    measure = found(subjects.make_subject("digits"))["boundary.map_locates_flips.train"]
    assert measure.unlearned is None and "too few" in measure.reason


def test_without_a_layout_the_map_says_why(digits):
    subject = subjects.make_subject("digits", retrains=0)
    subject.layout = None
    findings = boundary.compute(subject)
    assert "overview" not in findings.views
    assert all("no map" in m.reason for m in findings.measures if m.family.startswith("boundary.map_"))


# Slices through mixes of words or categories


class Mixer:
    """Rows of three categories: one-hot codes at a scale of the model's own, then a linear layer. Blends are made of the codes themselves."""

    def __init__(self, rng, scale):
        self.scale, self.weights = scale, rng.normal(size=(24, 3))

    def embed(self, inputs):
        return self.scale * np.hstack([np.eye(8)[inputs[:, k].astype(int)] for k in range(3)])

    def logits(self, embedded):
        return (2 * np.tanh(embedded / self.scale) @ self.weights).astype(np.float32)


@pytest.fixture
def mixes():
    rng = np.random.default_rng(0)
    plain = subjects.make_subject("digits", retrains=0)
    inputs = rng.integers(0, 8, (len(plain.labels), 3)).astype(np.float32)
    nets = {who: Mixer(rng, scale) for who, scale in (("original", 1.0), ("unlearned", 5.0), ("retrained:0", 0.1))}
    at = {who: Outputs(net.logits(net.embed(inputs)), {"features": net.embed(inputs)}) for who, net in nets.items()}

    def predict(who, x):
        raise AssertionError("codes have nothing between them")

    return replace(
        plain,
        inputs=inputs,
        labels=plain.labels % 3,
        class_names=("a", "b", "c"),
        modality="tabular",
        original=at["original"],
        unlearned=at["unlearned"],
        retrained=[at["retrained:0"]],
        predict=predict,
        blends=False,
        embed=lambda ids: nets["original"].embed(inputs[ids]),
        blend=lambda who, ids, shares: nets[who].logits(shares @ nets[who].embed(inputs[ids])),
    ), nets


def test_shares_are_barycentric():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5))
    p = slices.plane(*x, grid=9)
    assert p.weights.sum(axis=1) == pytest.approx(np.ones(81)) and p.weights.min() < 0
    assert p.weights @ p.corners == pytest.approx(p.at)
    assert p.weights @ x == pytest.approx(p.points, abs=1e-5)
    assert slices.shares(p.corners, p.corners) == pytest.approx(np.eye(3), abs=1e-12)


def test_a_plane_of_mixes_has_the_originals_lengths_and_every_models_own_answers(mixes):
    subject, nets = mixes
    view = boundary.compute(subject).views["plane"]
    rows = nets["original"].embed(subject.inputs[view["corner_ids"]])
    for i, j in combinations(range(3), 2):
        assert np.linalg.norm(view["corners"][i] - view["corners"][j]) == pytest.approx(np.linalg.norm(rows[i] - rows[j]))
    assert view["mixed"] and len(set(subject.labels[view["corner_ids"]])) == 2
    r, c = 17, 41
    system = np.vstack([view["corners"].T, np.ones(3)])  # the place itself and a sum of 1
    shares = np.linalg.solve(system, [view["a"][c], view["b"][r], 1])
    for who, net in nets.items():
        codes = shares @ net.embed(subject.inputs[view["corner_ids"]])
        expected = net.logits(codes[None])[0].argmax()
        assert (view["retrained"][0] if ":" in who else view[who])[r, c] == expected
    measure = found(subject)["boundary.plane_agreement.plane"]
    assert measure.unlearned == (view["unlearned"] == view["retrained"][0]).mean() and measure.n == 3600


def test_the_way_through_mixes_starts_and_ends_at_the_instances(mixes):
    subject, nets = mixes
    triplet = slices.choose_triplet(subject, int(subject.forget[0]))
    view = slices.slice_views(subject, triplet)["segment"]
    label, at = view["label"][0], [40, 0, 80]
    for who, curve in (("original", view["original"]), ("unlearned", view["unlearned"]), ("retrained:0", view["retrained"][0])):
        z = subject.outputs(who).logits[triplet].astype(np.float64)
        assert curve[at] == pytest.approx((np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))[:, label], abs=1e-6)
    half = nets["unlearned"].embed(subject.inputs[triplet])[[0, 2]].mean(axis=0, keepdims=True)
    z = nets["unlearned"].logits(half).astype(np.float64)[0]
    assert view["unlearned"][60] == pytest.approx(np.exp(z[label]) / np.exp(z).sum(), abs=1e-6)


def test_equal_rows_span_no_plane_of_mixes(mixes):
    subject, _ = mixes
    first = int(subject.forget[0])
    _, second, third = slices.choose_triplet(subject, first)
    alike = subject.retain[(subject.labels[subject.retain] == subject.labels[second]) & (subject.retain != second)]
    subject.inputs[alike[:40]] = subject.inputs[first]  # more twins than the few nearest that are tried
    subject.original.features[alike[:40]] = subject.original.features[first]
    chosen = slices.choose_triplet(subject, first)
    assert not np.isin(chosen[1:], alike[:40]).any()
    with pytest.raises(BadInput, match="one line"):
        slices.slice_views(subject, [first, int(alike[0]), int(third)])


def test_nothing_is_drawn_where_a_model_has_nothing_between_inputs():
    found = boundary.compute(replace(subjects.make_subject(), blends=False, modality="text"))
    plane = next(m for m in found.measures if m.id == "boundary.plane_agreement.plane")
    assert plane.unlearned is None and "nothing between two" in plane.reason
    assert not {"plane", "segment"} & set(found.views)


@pytest.mark.filterwarnings("error")
def test_a_map_whose_instances_all_lie_at_one_place_is_their_average():
    s = overview.smoother(np.full((6, 2), 3.0))
    assert s.kept.any()
    assert s.cells @ np.arange(6.0) == pytest.approx(2.5)
