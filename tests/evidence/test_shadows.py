"""Attacks with shadow models, on models whose φ is planted and on real ones: the right answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from evidence import subjects
from scipy import stats
from sklearn.metrics import roc_auc_score

from unlearn_core.data.base import Splits
from unlearn_core.evidence import forgetting_quality, pool_attacks, pooled, shadows, verdicts
from unlearn_core.evidence.attacks import confidence_of, logit_scaled_confidence, tpr_at_fpr
from unlearn_core.evidence.base import Outputs, Subject
from unlearn_core.models import pool
from unlearn_core.models.pool import Shadows

FORGET = 40
FAMILIES = [d.id for d in shadows.EVIDENCE.definitions]


def logits_of(phi, labels):
    """[..., N, 2] so that the logit-scaled confidence in the label is φ."""
    z = np.zeros((*phi.shape, 2), np.float32)
    np.put_along_axis(z, np.broadcast_to(labels[:, None], (*phi.shape, 1)), phi[..., None], axis=-1)
    return z


def planted(gain=3.0, k=32, retrains=4, unlearned="noop", test=200, seed=0, share=0.6):
    """Models whose φ on instance i is N(μᵢ, 1), raised by `gain` where they saw it; the forget set is the first FORGET of 300 for training."""
    rng = np.random.default_rng(seed)
    cuts = np.cumsum([300, 30, 30, test, 100])
    splits = Splits(*np.split(np.arange(cuts[-1]), cuts[:-1]))
    labels = rng.integers(0, 2, cuts[-1])
    mean = rng.normal(0, 2, cuts[-1])

    def phi(saw):
        return mean + gain * saw + rng.standard_normal(saw.shape)

    def model(*ids):
        saw = np.zeros(cuts[-1])
        saw[np.concatenate(ids)] = 1
        return Outputs(logits_of(phi(saw), labels), {})

    ids = pool.universe(splits)
    keep = pool.membership(pool.subsets(ids, round(share * len(ids)), k, "judge", seed), cuts[-1])
    original, forget = model(splits.train), splits.train[:FORGET]
    retain = splits.train[FORGET:]
    return Subject(
        labels=labels, class_names=("a", "b"), modality="points", inputs=np.zeros((cuts[-1], 2)), splits=splits, forget=forget,
        original=original, unlearned=original if unlearned == "noop" else model(retain), retrained=[model(retain) for _ in range(retrains)],
        predict=None, head=None, shadows=Shadows(logits_of(phi(keep), labels), keep), settings={"retrains": retrains, "mean": mean},
    )  # fmt: skip


def with_method(subject, shift, again=None, seed=5):
    """The subject with shadows on which a method ran: what they knew of the forget set is gone, and another `shift` of φ."""
    rng, rows, here = np.random.default_rng(seed), subject.forget, subject.shadows
    phi = np.stack([logit_scaled_confidence(one, subject.labels) for one in here.logits])
    fresh = subject.settings["mean"] + rng.standard_normal(phi.shape) + shift
    phi[:, rows] = np.where(here.keep, fresh, phi)[:, rows]
    more = None if again is None else np.stack([subject.retrained[0].logits + rng.normal(0, 1, (1, 2)) for _ in range(again)])
    return replace(subject, shadows=replace(here, unlearned=logits_of(phi, subject.labels), again=more), memo={})


def measured(subject):
    """The findings' measures by the middle of their names."""
    return {m.id.split(".")[1]: m for m in shadows.compute(subject).measures}


def phi_of(subject, who):
    return logit_scaled_confidence(subject.outputs(who).logits, subject.labels)


# each model judged by others ---------------------------------------------------------------------------------


def slow_scores(positive, negative, keep):
    """The scores of `leave_one_out`, one model and one instance at a time."""
    models, instances = keep.shape
    found = np.full(keep.shape, np.nan)
    for k in range(models):
        bells = []
        for values, side in ((positive, True), (negative, False)):
            rest = []
            for i in range(instances):
                across = [(k + a) % models for a in range(1, models) if keep[(k + a) % models, i] != keep[k, i]]
                gone = {k, *across[:1]}
                rest.append([values[j, i] for j in range(models) if keep[j, i] == side and j not in gone])
            free = sum(len(r) - 1 for r in rest if r)
            pooled = sum(np.var(r) * len(r) for r in rest if r) / free
            bells.append((rest, pooled))
        for i in range(instances):
            if any(not rest[i] for rest, _ in bells):
                continue
            density = []
            for rest, pooled in bells:
                n, prior = len(rest[i]), pool_attacks.PRIOR_DOF
                dof = prior + n - 1
                scale = np.sqrt((prior * pooled + np.var(rest[i]) * n) / dof * (1 + 1 / n))
                phi = (positive if keep[k, i] else negative)[k, i]
                density.append(stats.t.logpdf(phi, dof, np.mean(rest[i]), scale))
            found[k, i] = density[0] - density[1]
    return found


def slow_auc(positive, negative, keep):
    scores = slow_scores(positive, negative, keep)
    known = np.isfinite(scores)
    return roc_auc_score(keep[known], scores[known])


def random_pool(seed, models=10, instances=5, gain=1.0):
    rng = np.random.default_rng(seed)
    keep = rng.random((models, instances)) < 0.6
    keep[:3], keep[3:6] = True, False
    positive = rng.normal(0, 1, keep.shape) + rng.normal(0, 3, instances)
    return positive + gain, positive, keep


def test_leave_one_out_is_a_plain_loop_with_scipy():
    given = random_pool(0)
    middle, low, high = shadows.leave_one_out(*given)
    assert middle == pytest.approx(slow_auc(*given), abs=1e-12)
    without = [slow_auc(*(np.delete(array, k, axis=0) for array in given)) for k in range(10)]
    half = stats.t.ppf(0.975, 9) * np.sqrt(9 * np.var(without))
    assert (low, high) == pytest.approx((max(middle - half, 0), min(middle + half, 1)), abs=1e-12)


def test_an_instance_that_all_models_saw_is_not_counted():
    positive, negative, keep = random_pool(1)
    extra = np.ones((10, 1), bool)
    more = np.hstack([positive, positive[:, :1]]), np.hstack([negative, negative[:, :1]]), np.hstack([keep, extra])
    assert shadows.leave_one_out(*more)[0] == pytest.approx(slow_auc(*more), abs=1e-12)
    assert shadows.leave_one_out(positive, negative, np.ones_like(keep)) is None


def gaussians(seed, models, instances, gain):
    rng = np.random.default_rng(seed)
    keep = pool.membership(pool.subsets(np.arange(400), 280, models, "judge", seed), 400)[:, :instances]
    phi = rng.standard_normal(keep.shape) + rng.normal(0, 3, instances)
    return phi + gain * keep, keep


@pytest.mark.parametrize("gain", [0.7, 1.5, 3.0])
def test_planted_gaussians_give_the_textbook_auc(gain):
    phi, keep = gaussians(0, 96, 200, gain)
    middle, low, high = shadows.leave_one_out(phi, phi, keep)
    textbook = stats.norm.cdf(gain / np.sqrt(2))
    assert middle == pytest.approx(textbook, abs=0.015)
    assert low < middle < high and high - low < 0.05


@pytest.mark.parametrize("models", [8, 16, 32])
def test_where_nothing_is_to_be_told_the_auc_is_one_half(models):
    """With only itself left out a model looks unlike its own side: 0.42 for 8 models, 0.46 for 16."""
    found = []
    for seed in range(40):
        phi, keep = gaussians(seed, models, 60, 0.0)
        found.append(shadows.leave_one_out(phi, phi, keep))
    middle, low, high = np.array(found).T
    assert middle.mean() == pytest.approx(0.5, abs=0.015)
    assert np.mean((low <= 0.5) & (high >= 0.5)) >= 0.9


def test_the_interval_is_about_models_not_instances():
    """Copies of the same instances add no evidence; the same many instances of their own do."""
    phi, keep = gaussians(3, 32, 10, 1.0)
    few = shadows.leave_one_out(phi, phi, keep)
    copied = np.tile(phi, 12)
    assert shadows.leave_one_out(copied, copied, np.tile(keep, 12)) == pytest.approx(few, abs=1e-9)
    phi, keep = gaussians(3, 32, 120, 1.0)
    _, low, high = shadows.leave_one_out(phi, phi, keep)
    assert high - low < 0.6 * (few[2] - few[1])


def test_full_separation_by_few_models_is_no_proof():
    phi, keep = gaussians(0, 8, 30, 50.0)
    middle, low, high = shadows.leave_one_out(phi, phi, keep)
    assert (middle, high) == (1.0, 1.0) and low < 0.7


# attacks on the set ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noop():
    return planted()


def direct(subject, name, who):
    """One attack by its own function, scores of all instances."""
    z, here = subject.splits.population, subject.shadows
    phi, target = np.stack([logit_scaled_confidence(one, subject.labels) for one in here.logits]), phi_of(subject, who)
    p, q = confidence_of(phi), confidence_of(target)
    if name == "rmia_online":
        return pool_attacks.rmia_online(q, p, here.keep, q[z], p[:, z], break_ties=True)
    if name == "rmia_offline":
        seen = np.setdiff1d(np.arange(len(q)), z)
        a = pool_attacks.tune_rmia_offline(p[0][seen], here.keep[0][seen], p[1:, seen], here.keep[1:, seen], p[0][z], p[1:, z])
        return pool_attacks.rmia_offline(q, p, here.keep, q[z], p[:, z], a, break_ties=True)
    return getattr(pool_attacks, name)(phi, here.keep, target, "nig")


@pytest.mark.parametrize("name", shadows.ATTACKS)
def test_every_attack_ranks_forgotten_above_test_instances(noop, name):
    found = measured(noop)[name]
    members, others = noop.forget, noop.splits.test
    truth = np.repeat([1, 0], [len(members), len(others)])

    def auc(who):
        return roc_auc_score(truth, direct(noop, name, who)[np.concatenate([members, others])])

    assert found.original == pytest.approx(auc("original"), abs=1e-12) and found.unlearned == found.original > 0.8
    assert found.retrained.values == pytest.approx([auc(f"retrained:{k}") for k in range(4)], abs=1e-12)
    assert found.verdict() == "still different" and found.n == FORGET
    curve = shadows.compute(noop).views["shadow_roc"]
    assert len(curve[f"{name}.fpr"]) == len(curve[f"{name}.original"]) == curve[f"{name}.retrained"].shape[1]
    at = np.searchsorted(curve[f"{name}.fpr"], 0.1)
    scores = direct(noop, name, "original")
    assert curve[f"{name}.original"][at] == tpr_at_fpr(scores[members], scores[others], curve[f"{name}.fpr"][at])


def test_unlearning_that_is_retraining_looks_like_it():
    found = measured(planted(unlearned="retrain"))
    assert [found[name].verdict() for name in shadows.ATTACKS] == ["like retrained"] * 4


@pytest.mark.parametrize(("test", "rate"), [(1000, 0.01), (200, 0.05), (199, None)])
def test_found_is_read_at_the_smallest_rate_with_ten_false_alarms(test, rate):
    subject = planted(test=test, k=16)
    found = measured(subject)["lira_found"]
    if rate is None:
        assert found.unlearned is None and found.reason == "even at 5 % it needs 200 test instances, there are 199"
        return
    scores = direct(subject, "lira_online", "unlearned")
    assert found.unlearned == tpr_at_fpr(scores[subject.forget], scores[subject.splits.test], rate)
    assert f"read at {rate:.1%} false alarms" in found.reason and found.null == (rate, rate)
    assert found.ci[0] < found.unlearned < found.ci[1]


def test_rmia_needs_population_instances_that_no_model_saw(noop):
    nothing = replace(noop.splits, population=noop.splits.population[:0])
    keep = noop.shadows.keep.copy()
    keep[3, noop.splits.population[5]] = True
    for other in (replace(noop, splits=nothing), replace(noop, shadows=replace(noop.shadows, keep=keep))):
        found = measured(replace(other, memo={}))
        for name in ("rmia_online", "rmia_offline"):
            assert found[name].unlearned is None
            assert found[name].reason == "RMIA compares with population instances that no model saw, and there are none"
        assert found["lira_online"].unlearned is not None


def test_test_instances_that_no_shadow_saw_leave_the_offline_attack(noop):
    keep = noop.shadows.keep.copy()
    keep[:, noop.splits.test] = False
    found = measured(replace(noop, shadows=replace(noop.shadows, keep=keep), memo={}))
    assert "saw, or never saw" in found["lira_online"].reason and found["lira_found"].unlearned is None
    assert found["lira_offline"].unlearned > 0.8


# what is missing ---------------------------------------------------------------------------------------------


def test_without_shadows_every_family_says_so(noop):
    found = shadows.compute(replace(noop, shadows=None, memo={}))
    assert [m.family for m in found.measures] == FAMILIES and not found.views
    assert {m.reason for m in found.measures} == {shadows.NO_POOL} and all(m.unlearned is None for m in found.measures)


def test_every_family_is_always_there(noop):
    for subject in (noop, with_method(noop, 0.0), planted(retrains=0), planted(test=50)):
        assert sorted(m.family for m in shadows.compute(replace(subject, memo={})).measures) == sorted(FAMILIES)


def test_a_reference_that_diverged_is_no_reason_to_hide_that_no_pool_was_asked_for(noop):
    broken = replace(noop.original, logits=noop.original.logits * np.nan)
    found = shadows.compute(replace(noop, shadows=None, retrained=[*noop.retrained, broken], memo={}))
    assert {m.reason for m in found.measures} == {shadows.NO_POOL}
    found = measured(replace(noop, retrained=[*noop.retrained, broken], memo={}))
    assert "diverged" in found["lira_online"].reason and found["lira_online"].reliability == "weak"
    assert len(found["lira_online"].retrained.values) == 4
    found = shadows.compute(replace(noop, unlearned=broken, memo={}))
    assert all("diverged" in m.reason and m.unlearned is None for m in found.measures)


@pytest.mark.parametrize("when", ["logits", "unlearned"])
def test_a_shadow_that_diverged_is_left_out_and_named(noop, when):
    subject = with_method(noop, -3.0)
    here = subject.shadows
    broken = getattr(here, when).copy()
    broken[7, 3] = np.nan
    found = measured(replace(subject, shadows=replace(here, **{when: broken}), memo={}))
    rest = replace(here, **{name: np.delete(getattr(here, name), 7, axis=0) for name in ("logits", "keep", "unlearned")})
    wanted = measured(replace(subject, shadows=rest, memo={}))
    for name, m in found.items():
        assert (m.unlearned, m.original, m.ci) == (wanted[name].unlearned, wanted[name].original, wanted[name].ci)
        assert "1 of 32 shadow models diverged and were left out" in m.reason
    assert found["u_lira"].unlearned is not None and found["looks_forgotten"].unlearned is not None
    none = measured(replace(subject, shadows=replace(here, **{when: broken * np.nan}), memo={}))
    assert all("32 of 32 shadow models diverged" in m.reason and m.unlearned is None for m in none.values())


# verdicts of the pool ----------------------------------------------------------------------------------------


def test_each_retrained_model_is_judged_by_a_correction_from_the_others_only():
    """One of two knows everything better by six logits. Each is the odd one for the other; together they would excuse each other."""
    subject = planted(retrains=2, unlearned="retrain")
    up = logits_of(phi_of(subject, "retrained:1") + 6, subject.labels)
    found = measured(replace(subject, retrained=[subject.retrained[0], Outputs(up, {})], memo={}))
    assert found["told_apart"].retrained.values == pytest.approx((0, 1), abs=0.1)
    assert found["over_forgotten"].retrained.values == pytest.approx((1, 0), abs=0.1)


def test_a_pool_that_is_wrong_everywhere_is_corrected_by_the_retrained_models():
    """Full-size models are surer than shadows by two spreads: without correction retraining itself would be told apart."""
    subject = planted(unlearned="retrain", retrains=8)
    lowered = logits_of(np.stack([logit_scaled_confidence(one, subject.labels) - 2 for one in subject.shadows.logits]), subject.labels)
    found = measured(replace(subject, shadows=replace(subject.shadows, logits=lowered), memo={}))["told_apart"]
    assert found.unlearned < 0.2 and np.mean(found.retrained.values) < 0.15 and found.original > 0.6
    assert found.reason.startswith("Checked on 8 exact retrains")


def test_planted_knowledge_is_told_apart_one_by_one(noop):
    found = shadows.compute(noop)
    view = found.views["shadow_instances"]
    told = next(m for m in found.measures if m.family == "shadows.told_apart")
    assert told.unlearned == told.original > 0.6 > 0.25 > np.mean(told.retrained.values)
    assert told.unlearned == np.mean(view["verdict"] == verdicts.STILL)
    assert view["ids"].tolist() == noop.forget.tolist() and view["retrained"].shape == (4, FORGET)
    phi = np.stack([logit_scaled_confidence(one, noop.labels) for one in noop.shadows.logits])[:, noop.forget]
    keep = noop.shadows.keep[:, noop.forget]
    assert view["saw.mean"] == pytest.approx([np.mean(phi[keep[:, i], i]) for i in range(FORGET)], abs=1e-9)
    assert view["difficulty"] == pytest.approx([-np.mean(phi[~keep[:, i], i]) for i in range(FORGET)], abs=1e-9)
    right = phi > 0
    memorised = [right[keep[:, i], i].mean() - right[~keep[:, i], i].mean() for i in range(FORGET)]
    assert view["memorisation"] == pytest.approx(memorised, abs=1e-9)
    assert np.mean(view["exposure"]) == pytest.approx(3.0, abs=0.5)


def test_without_retrained_models_the_pool_is_not_checked():
    found = shadows.compute(planted(retrains=0))
    told = next(m for m in found.measures if m.family == "shadows.told_apart")
    assert "Not checked" in found.views["shadow_check"]["text"].item()
    assert told.reason.startswith("Not checked") and told.unlearned > 0.5 and told.retrained is None
    assert found.views["shadow_instances"]["retrained"].shape == (0, FORGET)


def test_a_pool_too_small_for_verdicts_says_so():
    """Fewer than two shadows never saw an instance: no bell, so nothing to check, and no failure either."""
    subject = planted(k=4, share=0.8)
    found = measured(subject)
    assert found["rmia_offline"].unlearned is not None and "not enough models" in found["told_apart"].reason
    subject.shadows.keep[:, subject.splits.population] = True
    found = measured(replace(subject, memo={}))
    assert found["told_apart"].unlearned is None and found["over_forgotten"].unlearned is None
    assert "not enough models" in found["told_apart"].reason and "Not checked: too few shadow models" in found["told_apart"].reason


@pytest.fixture(scope="module")
def moons():
    """Mislabelled moons, learned by nets with random features: the measures of a no-op and those of an exact retraining."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subjects, "Net", RandomFeatures)
        found = {kind: subjects.make_subject(retrains=6, unlearned=kind, forget=20) for kind in ("noop", "retrain")}
    subject = found["noop"]
    ids = pool.universe(subject.splits)
    parts = pool.subsets(ids, round(0.7 * len(ids)), 32, "judge", 0)
    nets = [RandomFeatures(subject.inputs[part], subject.labels[part], 500 + k) for k, part in enumerate(parts)]
    half = Shadows(np.stack([net.predict(subject.inputs) for net in nets]), pool.membership(parts, len(subject.labels)))
    return {kind: measured(replace(one, shadows=half)) for kind, one in found.items()}


class RandomFeatures:
    """A net with a fixed random hidden layer, wide enough to learn wrong labels by heart."""

    def __init__(self, inputs, labels, seed):
        rng = np.random.default_rng(seed)
        self.weights, self.phases = rng.normal(0, 5, (2, 200)), rng.uniform(0, 7, 200)
        hidden = self.hidden(inputs)
        self.out = np.linalg.solve(hidden.T @ hidden + 0.3 * np.eye(200), hidden.T @ (8.0 * labels - 4))

    def hidden(self, inputs):
        return np.cos(inputs @ self.weights + self.phases) / 4

    def predict(self, inputs):
        z = self.hidden(inputs) @ self.out
        return np.stack([0 * z, z], axis=1).astype(np.float32)

    def outputs(self, inputs):
        return Outputs(self.predict(inputs), {})


def test_real_nets_keep_mislabelled_points_unless_they_are_retrained(moons):
    noop, retrain = (moons[kind]["told_apart"] for kind in ("noop", "retrain"))
    assert noop.unlearned >= 0.5 and noop.verdict() == "still different"
    assert retrain.unlearned <= 0.25 and retrain.verdict() == "like retrained"
    online = {kind: found["lira_online"] for kind, found in moons.items()}
    assert online["noop"].unlearned > 0.8 and online["noop"].verdict() == "still different"
    assert online["retrain"].inside()


# after the method --------------------------------------------------------------------------------------------


def test_without_the_method_on_the_shadows_it_says_so(noop):
    found = measured(noop)
    assert {found[name].reason for name in ("u_lira", "u_lira_retrain", "looks_forgotten")} == {shadows.NO_U_LIRA}


def test_u_lira_sees_what_the_method_leaves_and_nothing_where_it_leaves_nothing(noop):
    perfect, pushed = measured(with_method(noop, 0.0)), measured(with_method(noop, -3.0))
    for name in ("u_lira", "u_lira_retrain"):
        low, high = perfect[name].ci
        assert low <= 0.5 <= high and perfect[name].unlearned == pytest.approx(0.5, abs=0.05)
        assert pushed[name].unlearned > 0.9 and pushed[name].ci[0] > 0.5 and pushed[name].retrained is None
        assert perfect[name].original == pushed[name].original == pytest.approx(stats.norm.cdf(3 / np.sqrt(2)), abs=0.03)


def test_the_two_nulls_are_the_unlearned_and_the_untouched_shadows(noop):
    """A method that shifts what a model says of instances it never saw: forgotten and never seen agree, both differ from retraining."""
    subject = with_method(noop, 0.0)
    lowered = subject.shadows.unlearned.copy()
    phi = np.stack([logit_scaled_confidence(one, noop.labels) for one in lowered]) - 4.0
    found = measured(replace(subject, shadows=replace(subject.shadows, unlearned=logits_of(phi, noop.labels)), memo={}))
    assert found["u_lira"].ci[0] <= 0.5 <= found["u_lira"].ci[1]
    assert found["u_lira_retrain"].unlearned > 0.95


def test_looks_forgotten(noop):
    subject = with_method(noop, -3.0)
    forgot = Outputs(logits_of(phi_of(noop, "retrained:0") - 3, noop.labels), {})
    found = measured(replace(subject, unlearned=forgot, memo={}))["looks_forgotten"]
    assert found.unlearned > 0.85 > 0.25 > np.mean(found.retrained.values) and found.original < 0.1
    assert found.verdict() == "moved away"


def test_instances_that_no_shadow_missed_are_not_counted_as_not_forgotten(noop):
    subject = with_method(noop, -3.0)
    keep = subject.shadows.keep.copy()
    keep[:, subject.forget[10:]] = True
    forgot = Outputs(logits_of(phi_of(noop, "retrained:0") - 3, noop.labels), {})
    found = measured(replace(subject, unlearned=forgot, shadows=replace(subject.shadows, keep=keep), memo={}))["looks_forgotten"]
    assert found.n == 10 and found.unlearned > 0.8
    keep[:, subject.forget] = True
    found = measured(replace(subject, unlearned=forgot, shadows=replace(subject.shadows, keep=keep), memo={}))
    for name in ("u_lira", "u_lira_retrain", "looks_forgotten"):
        assert found[name].unlearned is None and found[name].reason == shadows.ONE_SIDED


def test_forgetting_quality_needs_retrained_models_and_runs():
    few = measured(with_method(planted(k=8, retrains=4), 0.0, again=4))["forgetting_quality"]
    assert few.unlearned is None and few.reason == "it needs 8 retrained models, there are 4"
    alone = measured(with_method(planted(k=8, retrains=1), 0.0))["forgetting_quality"]
    assert alone.reason == "it needs 8 retrained models, there are 1"
    subject = with_method(planted(k=8, retrains=8), 0.0, again=4)
    diverged = replace(subject.shadows, again=subject.shadows.again * np.array([1, 1, 1, np.nan])[:, None, None])
    assert "that give numbers" in measured(replace(subject, shadows=diverged, memo={}))["forgetting_quality"].reason
    found = measured(subject)["forgetting_quality"]
    rows = subject.forget
    phi = [
        np.stack([logit_scaled_confidence(one[rows], subject.labels[rows]) for one in many])
        for many in (subject.shadows.again, [outputs.logits for outputs in subject.retrained])
    ]
    wanted = forgetting_quality.forgetting_quality(*phi, seed=subject.seed)
    assert (found.unlearned, found.null, found.reason) == (wanted.ratio, (wanted.null_low, wanted.null_high), wanted.text)


def test_the_pool_refuses_where_it_misjudges_exact_retraining_on_the_set_itself():
    bell = pooled.Bell(np.zeros(30), np.ones(30), np.full(30, 20.0), np.full(30, 9))
    rng = np.random.default_rng(0)
    honest = [verdicts.judge(rng.standard_t(20, 30), bell) for _ in range(4)]
    said, refused = pooled._on_the_set(honest)
    assert refused is None and said.startswith("; on these very instances: ")
    pushed = [verdicts.judge(rng.standard_t(20, 30) - 1.5, bell) for _ in range(4)]
    said, refused = pooled._on_the_set(pushed)
    share = np.mean([one.verdict == verdicts.OVER for one in pushed])
    assert share > 0.15 and f"{share:.0%} over-forgotten" in refused and f"{share:.0%} over-forgotten" in said
    some = np.array([verdicts.STILL, verdicts.FEW])
    assert pooled._unless(refused, some).tolist() == [pooled.REFUSED, verdicts.FEW] and pooled._unless(None, some) is some


def test_a_few_flags_by_chance_are_no_reason_to_refuse():
    bell = pooled.Bell(np.zeros(3), np.ones(3), np.full(3, 20.0), np.full(3, 9))
    assert pooled._on_the_set([verdicts.judge(np.array([-5.0, 0, 0]), bell) for _ in range(3)])[1] is None
    assert pooled._on_the_set([]) == ("", None)
