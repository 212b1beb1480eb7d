"""Can this one instance still be told apart from one that the model never saw? Verdicts per instance, and their calibration.

The question is put to a bell: what models that never saw the instance say about it (pool_attacks.Bell). Retrains
without exactly this forget set give it exactly; a pool on random subsets estimates it, and is corrected and reported
with how it judges exact retrains (`calibrate`). φ are logit-scaled confidences; arrays are [N], one row a model.

Exact retrains are flagged too: a share `ALPHA` in each direction, so about 10 % at 5 %, because each of the two tails is a
test of its own ("still told apart" and "over-forgotten"). Of 20 perfectly retrained instances about 2 ± 1.3 are flagged by
chance, more unevenly still where one model's instances move together. That is why the retrained models' own verdicts, made in
the same way, always stand beside the unlearned model's, and why many points get false-discovery control.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearn_core.errors import BadInput
from unlearn_core.evidence.attacks import POWER
from unlearn_core.evidence.pool_attacks import PRIOR_DOF, Bell, bell, bell_of

STILL = "still told apart"
NOT = "not told apart"
OVER = "over-forgotten"
FEW = "not enough models"
NAMES = (STILL, NOT, OVER, FEW)

ALPHA = 0.05  # in each direction
LEAST_MODELS = 4  # that never saw the instance; 8 are better
DISCOVERY = 0.05  # expected share of false flags among the flagged, under false-discovery control
LIKE = 5  # instances of like difficulty without which a pool's correction says nothing
KNOTS = 200  # at most so many points of a pool's correction


@dataclass(frozen=True)
class Verdicts:
    """Verdicts on models' answers: every array is [..., N], one leading axis if several models were judged.

    t: distance from the middle of the bell in its scales, 0 ideal. p: chance that a model which never saw the instance
    is at least as confident (small: still told apart). p_two: 2 · min(p, 1 − p). verdict: one of NAMES at `alpha` in each
    direction. q: two-sided p adjusted for the number of instances; controlled: the verdicts at false-discovery rate
    DISCOVERY. detectable: the smallest shift of φ towards "saw it", in logits, that would be told apart in 80 % of cases.
    """

    t: np.ndarray
    p: np.ndarray
    p_two: np.ndarray
    verdict: np.ndarray
    q: np.ndarray
    controlled: np.ndarray
    detectable: np.ndarray
    alpha: float = ALPHA


@dataclass(frozen=True)
class Uniformity:
    """p-values [N] against the uniform distribution: QQ points with their pointwise 95 % band, and the KS test.

    distance: Kolmogorov–Smirnov statistic. p: of the KS test, which takes instances for independent. p_calibrated: share of
    models (this one and the retrained ones) with at least this distance; one model's instances move together, so only
    this one holds its level. None without retrained models.
    """

    expected: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    distance: float
    p: float
    p_calibrated: float | None


@dataclass(frozen=True)
class Waffle:
    """How many of n instances got each verdict, and mean ± sd of the same counts over retrained models (sd None for one).

    text: the sentence on those not told apart; flagged: the one on those that stand out under false-discovery control.
    """

    n: int
    counts: dict[str, int]
    retrained: dict[str, tuple[float, float | None]] | None

    @property
    def text(self) -> str:
        said = f"{self.counts[NOT]} of {self.n} not told apart from never seen"
        if self.retrained:
            mean, sd = self.retrained[NOT]
            said += f" (exact retraining: {mean:.0f}" + (")" if sd is None else f" ± {sd:.0f})")
        return said + (f"; {FEW} for {self.counts[FEW]}" if self.counts[FEW] else "")

    @property
    def flagged(self) -> str:
        """Of a waffle of `Verdicts.controlled`."""
        found = {name: self.counts[name] for name in (STILL, OVER)}
        beside = f"; exact retraining: {sum(self.retrained[name][0] for name in found):.1f}" if self.retrained else ""
        return (
            f"With at most {100 * DISCOVERY:.0f} % false flags among all flagged: {sum(found.values())} of {self.n} "
            f"({', '.join(f'{count} {name}' for name, count in found.items())}{beside})"
        )


@dataclass(frozen=True)
class Correction:
    """How the bells of a pool must move to fit full-size models: by `shift` scales, as a function of the bell's location, and `scale` times as wide.

    knots [J]: locations in logits, rising; shift [J], interpolated between them; near [J]: how many instances of like
    difficulty stand behind each. Where fewer than LIKE do, nothing is known and nothing is corrected: `apply` gives a NaN
    scale there, so the verdict is refused. (Extrapolating from easy instances to hand-picked hard ones made 41 % wrongly
    over-forgotten retrains into 60–70 % on digits.)
    """

    knots: np.ndarray
    shift: np.ndarray
    near: np.ndarray
    scale: float

    def covers(self, pool: Bell) -> np.ndarray:
        """Whether instances of like difficulty were there to correct from, [..., N] bool."""
        return np.interp(pool.mean, self.knots, self.near, left=0, right=0) >= LIKE

    def apply(self, pool: Bell) -> Bell:
        moved = pool.mean + np.interp(pool.mean, self.knots, self.shift) * pool.scale
        return Bell(moved, np.where(self.covers(pool), pool.scale * self.scale, np.nan), pool.dof, pool.n)


@dataclass(frozen=True)
class Flagged:
    """Share of judgements on exact retrains that were flagged in each direction; `ALPHA` each is right.

    distance: of their p-values from uniform (Kolmogorov–Smirnov). told_apart_at, over_forgotten_at [J]: the same
    shares among instances whose bell stands near each knot of the correction.
    """

    told_apart: float
    over_forgotten: float
    distance: float
    told_apart_at: np.ndarray
    over_forgotten_at: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """What a pool says of exact retrains, before and after its correction; printed next to every verdict of the pool.

    after: each judgement of a (model, instance) pair with a correction from other instances and, if `independent`, other
    retrained models. correction: from all of them, for the models to be judged. spread: standard deviation over the
    retrained models of their flagged share after correction (both directions), None for one model.
    """

    correction: Correction
    before: Flagged
    after: Flagged
    judgements: int
    models: int
    instances: int
    spread: float | None
    independent: bool
    alpha: float = ALPHA

    @property
    def text(self) -> str:
        after, before = (
            f"{100 * f.told_apart:.0f} % called {STILL} and {100 * f.over_forgotten:.0f} % {OVER}" for f in (self.after, self.before)
        )
        start = f"Checked on {self.models} exact retrain{'s' if self.models > 1 else ''} and {self.instances:,} instances: "
        if np.isnan(self.after.told_apart):
            return start + f"too few instances of like difficulty to check a correction; without it {before}"
        return (
            start
            + f"{after} ({100 * self.alpha:.0f} % each is right; before correction {before})"
            + ("" if self.independent else "; one retrain only, so this is optimistic")
        )

    def at(self, pool: Bell) -> dict[str, np.ndarray]:
        """Flagged shares of exact retrains on instances as difficult as each of these: "told apart" and "over-forgotten", "before" and after, [..., N]."""
        knots = self.correction.knots
        covered = self.correction.covers(pool)
        curves = {
            STILL: self.after.told_apart_at,
            OVER: self.after.over_forgotten_at,
            f"{STILL}, before": self.before.told_apart_at,
            f"{OVER}, before": self.before.over_forgotten_at,
        }
        return {name: np.where(covered, np.interp(pool.mean, knots, curve), np.nan) for name, curve in curves.items()}


def judge(target: np.ndarray, never: Bell, *, alpha: float = ALPHA, least: int = LEAST_MODELS) -> Verdicts:
    """Verdicts on the φ of one model [N], or of several [R, N], from the bells of models that never saw the instances.

    The bells must be predictive. Their default for this, `never_seen`, takes each instance's own spread: a t test of one new
    value, which holds its level for every single instance, hard ones included, if φ is normal. Where fewer than `least`
    models never saw an instance the verdict is "not enough models" and its numbers are NaN.
    """
    target = np.asarray(target, np.float64)
    if np.isnan(target).any():
        raise BadInput("target", "the model's answers are no numbers.", "Leave out models that diverged.")
    enough = np.broadcast_to((never.n >= least) & np.isfinite(never.scale), target.shape)
    with np.errstate(invalid="ignore"):
        t, p, below = (np.where(enough, values, np.nan) for values in (never.t(target), never.above(target), never.below(target)))
        found = np.select([~enough, p < alpha, below < alpha], [FEW, STILL, OVER], NOT)
        p_two = np.minimum(2 * np.minimum(p, below), 1.0)
        q = adjusted(p_two)
        controlled = np.select([~enough, (q <= DISCOVERY) & (t > 0), (q <= DISCOVERY) & (t < 0)], [FEW, STILL, OVER], NOT)
    shift = np.where(enough, detectable_shift(never, alpha), np.nan)
    return Verdicts(t, p, p_two, found, q, controlled, shift, alpha)


def never_seen(phi: np.ndarray, used: np.ndarray | None = None, variance: str = "per", **options) -> Bell:
    """The predictive bell of models that never saw the instances, from φ [K, N]; `used` [K, N] bool marks which (all if None).

    "per" by default: "nig" and "pool" detect smaller shifts from few models, yet flag exact retrains too often on instances
    with a larger spread than the others and too seldom on the rest (measured on digits, 4 models: 1–14 % and 0.5–19 %
    of exact retrains an instance instead of 5 %).
    """
    return bell(phi, used, variance, predictive=True, **options)


def judge_each(
    phi: np.ndarray,
    variance: str = "per",
    *,
    alpha: float = ALPHA,
    least: int = LEAST_MODELS,
    prior_dof: float = PRIOR_DOF,
    pooled: float | None = None,
) -> Verdicts:
    """Each of K retrained models judged by the other K − 1, exactly as the unlearned one is by all: φ [K, N] -> Verdicts [K, N]."""
    phi = np.asarray(phi, np.float64)
    k = len(phi)
    if k < 2:
        raise BadInput("retrained", f"{k} retrained models cannot judge each other.", "Train at least 2, better 16.")
    centred = phi - phi.mean(axis=0)
    squares = (centred * centred).sum(axis=0) - centred * centred * k / (k - 1)
    others = bell_of(
        np.full(phi.shape, k - 1), phi - centred * k / (k - 1), np.maximum(squares, 0), variance, prior_dof=prior_dof, pooled=pooled
    )
    return judge(phi, others, alpha=alpha, least=least)


def rank_p(target: np.ndarray, phi: np.ndarray, used: np.ndarray | None = None) -> np.ndarray:
    """Share of models that never saw the instance, the judged one counted in, that are at least as confident: [..., N].

    A one-sided p-value that assumes no normality, only that a retrained model is one like the others; it cannot be
    smaller than 1/(n + 1), so 5 % needs 19 models. target: [..., N]; phi, used: [K, N].
    """
    used = np.ones(np.shape(phi), bool) if used is None else used
    over = ((phi >= np.asarray(target)[..., None, :]) & used).sum(axis=-2)
    return (1 + over) / (1 + used.sum(axis=0))


def detectable_shift(never: Bell, alpha: float = ALPHA) -> np.ndarray:
    """Smallest shift of φ from the middle of the bell, in logits, that the one-sided test at `alpha` flags in 80 % of cases, [..., N].

    Power of the t test of one new value, with Johnson and Welch's normal approximation of the noncentral t
    distribution (1940; within 2 % from 3 degrees of freedom), at the estimated spread.
    """
    dof = np.maximum(never.dof, 1.0)
    critical = _critical(dof, alpha)
    return (critical * (1 - 1 / (4 * dof)) + POWER * np.sqrt(1 + critical**2 / (2 * dof))) * never.scale


def edges(never: Bell, alpha: float = ALPHA) -> tuple[np.ndarray, np.ndarray]:
    """φ below which a needle is over-forgotten and above which it is still told apart, in logits, each [..., N]: α of the bell lies beyond."""
    half = never.scale * _critical(never.dof, alpha)
    return never.mean - half, never.mean + half


def _critical(dof: np.ndarray, alpha: float) -> np.ndarray:
    """Scales from the middle of a bell to where α of it lies beyond."""
    from scipy.special import ndtri, stdtrit

    finite = np.isfinite(dof)
    return np.where(finite, stdtrit(np.where(finite, dof, 1.0), 1 - alpha), ndtri(1 - alpha))


def share_of_the_way(original: np.ndarray, unlearned: np.ndarray, never: Bell) -> np.ndarray:
    """How far the needle moved from the original's φ to the middle of the bell, [..., N]: 0 not at all, 1 ideal, above 1 too far.

    NaN where the original lies less than one scale from the middle: there is no way to go. After IAM, arXiv:2506.06112.
    """
    way = original - never.mean
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(way) >= never.scale, (original - unlearned) / way, np.nan)


def adjusted(p: np.ndarray) -> np.ndarray:
    """Benjamini–Hochberg adjusted p-values along the last axis, NaN where p is: flagging q ≤ r keeps the expected share of false flags at r.

    Holds for independent p-values and for positively dependent ones, as those of one model usually are.
    Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995).
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, axis=-1)  # NaN last
    known = np.isfinite(p).sum(axis=-1, keepdims=True)
    rank = np.arange(1, p.shape[-1] + 1)
    ordered = np.take_along_axis(p, order, -1) * known / rank
    ordered = np.where(np.isnan(ordered), np.inf, ordered)
    falling = np.minimum(np.minimum.accumulate(ordered[..., ::-1], axis=-1)[..., ::-1], 1.0)
    found = np.empty_like(p)
    np.put_along_axis(found, order, falling, -1)
    return np.where(np.isnan(p), np.nan, found)


def uniformity(p: np.ndarray, retrained: np.ndarray | None = None) -> Uniformity:
    """p-values [N] of one model's instances (NaN left out) against uniform, calibrated by those of retrained models [R, N]."""
    from scipy.stats import beta, kstest

    p = np.sort(p[np.isfinite(p)])
    n = len(p)
    if not n:
        raise BadInput("p-values", "no instance has enough models.", f"Train at least {LEAST_MODELS}.")
    rank = np.arange(1, n + 1)
    found = kstest(p, "uniform")
    calibrated = None
    if retrained is not None and len(retrained):
        distances = [ks_distance(row) for row in retrained]
        calibrated = (1 + sum(d >= found.statistic - 1e-12 for d in distances)) / (1 + len(distances))
    return Uniformity(
        (rank - 0.5) / n,
        p,
        beta.ppf(0.025, rank, n - rank + 1),
        beta.ppf(0.975, rank, n - rank + 1),
        float(found.statistic),
        float(found.pvalue),
        calibrated,
    )


def ks_distance(p: np.ndarray) -> float:
    """Kolmogorov–Smirnov distance of the p-values (NaN left out) from the uniform distribution on 0..1."""
    p = np.sort(p[np.isfinite(p)])
    if not len(p):
        return float("nan")
    steps = np.arange(len(p) + 1) / len(p)
    return float(max((steps[1:] - p).max(), (p - steps[:-1]).max()))


def waffle(verdict: np.ndarray, retrained: np.ndarray | None = None) -> Waffle:
    """Counts of the verdicts [N] of one model, beside those of retrained models [R, N] judged in the same way (None if none could be)."""
    counts = {name: int((verdict == name).sum()) for name in NAMES}
    beside = None
    if retrained is not None and (retrained != FEW).any():
        each = {name: (retrained == name).sum(axis=-1) for name in NAMES}
        beside = {name: (float(c.mean()), float(c.std(ddof=1)) if len(c) > 1 else None) for name, c in each.items()}
    return Waffle(verdict.shape[-1], counts, beside)


def correction_of(pool: Bell, retrained: np.ndarray, never: np.ndarray) -> Correction:
    """The `Correction` that makes a pool's bells [N] fit exact retrains: φ [R, N] where `never` [R, N] bool (they never saw the instance).

    A pool whose models saw fewer data is less confident on easy instances, more confident on hard ones, and spreads wider,
    since its models also differ in their data. So the shift, in scales, is a smooth function of difficulty (kernel average of
    each instance's median over retrains); the scale is the ratio of the central 90 % of what then remains to that of the bells.
    """
    usable = never & np.isfinite(pool.scale)
    columns = np.flatnonzero(usable.any(axis=0))
    if not len(columns):
        raise BadInput("retrained", "no instance was left out of both a retrained model and enough of the pool.", "Calibrate on others.")
    t = np.where(usable, pool.t(retrained), np.nan)
    knots, near, (shift,) = _smooth(pool, columns, np.nanmedian(t[:, columns], axis=0))
    expected = np.broadcast_to(_critical(pool.dof, 0.05), pool.mean.shape)
    left = ((t - np.interp(pool.mean, knots, shift)) / expected)[usable]
    scale = float(np.diff(np.quantile(left, [0.05, 0.95]))[0] / 2)
    return Correction(knots, shift, near, scale if scale > 0 else 1.0)


def calibrate(pool: Bell, retrained: np.ndarray, never: np.ndarray | None = None, *, alpha: float = ALPHA, seed: int = 0) -> Calibration:
    """How a pool's bells [N] judge exact retrains φ [R, N], before and after a correction that other retrains and instances gave.

    never: [R, N] bool, instances that the retrain did not learn (all if None); they should include some as hard as those
    to be judged. Instances are split into two halves, and so are the retrains if there are two or more; each part is
    judged with the correction from the opposite one.
    """
    retrained = np.asarray(retrained, np.float64)
    never = np.ones(retrained.shape, bool) if never is None else never
    usable = never & np.isfinite(pool.scale)
    columns = np.flatnonzero(usable.any(axis=0))
    if len(columns) < 2:
        raise BadInput("retrained", "calibrating needs at least two instances that neither a retrain nor the pool saw.", "Leave out more.")
    half, side = np.full(retrained.shape[1], -1), np.arange(len(retrained)) % 2
    half[np.random.default_rng(seed).permutation(columns)] = np.arange(len(columns)) % 2
    several = len(retrained) > 1
    above, below = np.full((2, *retrained.shape), np.nan)
    for rows in np.unique(side):
        for part in (0, 1):
            other = (side != rows if several else side == rows)[:, None] & (half == 1 - part)
            if not (usable & other).any():
                continue
            fitted = correction_of(pool, retrained, never & other).apply(pool)
            mine = (side == rows)[:, None] & (half == part) & usable
            above[mine], below[mine] = fitted.above(retrained)[mine], fitted.below(retrained)[mine]
    before = _flagged(pool, columns, *(np.where(usable, p(retrained), np.nan) for p in (pool.above, pool.below)), alpha)
    after = _flagged(pool, columns, above, below, alpha)
    known = np.isfinite(above)
    rates = [((above[r] < alpha) | (below[r] < alpha))[known[r]].mean() for r in np.flatnonzero(known.any(axis=1))]
    return Calibration(
        correction_of(pool, retrained, never),
        before,
        after,
        int(usable.sum()),
        int(usable.any(axis=1).sum()),
        len(columns),
        float(np.std(rates, ddof=1)) if len(rates) > 1 else None,
        several,
        alpha,
    )


def _smooth(pool: Bell, columns: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Averages [J] of values [n] of the instances in `columns` near knots [J] over the locations of their bells.

    Gaussian weights half a (median) scale wide; also the effective number of instances [J] behind each average. Where
    none is within two widths the nearest one stands alone.
    """
    mean = pool.mean[columns]
    width = 0.5 * float(np.median(pool.scale[columns]))
    knots = np.linspace(mean.min(), mean.max(), int(np.clip(np.ceil(np.ptp(mean) / width), 2, KNOTS)))
    near, averages = np.empty(len(knots)), np.empty((len(values), len(knots)))
    for j, knot in enumerate(knots):
        apart = ((mean - knot) / width) ** 2
        weights = np.exp(-0.5 * apart) if apart.min() < 4 else (apart == apart.min()).astype(float)
        near[j] = weights.sum() ** 2 / (weights @ weights)
        averages[:, j] = [weights @ value / weights.sum() for value in values]
    return knots, near, list(averages)


def _flagged(pool: Bell, columns: np.ndarray, above: np.ndarray, below: np.ndarray, alpha: float) -> Flagged:
    """From chances [R, N], NaN where not judged."""
    above, below = above[:, columns], below[:, columns]
    known = np.isfinite(above)
    told, over = ((p < alpha) & known for p in (above, below))
    _, _, (told_at, over_at, judged_at) = _smooth(pool, columns, *(x.sum(axis=0) for x in (told, over, known)))
    with np.errstate(invalid="ignore"):
        total = np.float64(known.sum())
        return Flagged(float(told.sum() / total), float(over.sum() / total), ks_distance(above), told_at / judged_at, over_at / judged_at)
