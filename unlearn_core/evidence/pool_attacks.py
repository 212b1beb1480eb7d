"""Attacks that compare a model with many others that did or did not see each instance: LiRA, RMIA, U-LiRA, memorisation.

Everywhere: phi [K, N] float64 logit-scaled confidences (attacks.logit_scaled_confidence) of K pool models on N
instances; keep [K, N] bool, True where the model saw the instance; scores are higher for instances that look more
like members. Pure functions of arrays; nothing here picks thresholds (attacks.auc, attacks.tpr_at_fpr evaluate).
A score is NaN where too few models stand on a side: two with variance "per", one otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearn_core.errors import BadInput

PRIOR_DOF = 8.0  # models' worth of weight that the pooled variance has in "nig"
FLOOR = 1e-5  # logits; spreads below what float32 logits resolve count as this much
VARIANCES = ("per", "pool", "nig")


@dataclass(frozen=True)
class Bell:
    """What one more model of the same kind would give for each instance: location–scale Student t, arrays [..., N].

    mean, scale in logits; dof: degrees of freedom, inf for a normal distribution; n: the models behind it.
    """

    mean: np.ndarray
    scale: np.ndarray
    dof: np.ndarray
    n: np.ndarray

    def t(self, phi: np.ndarray) -> np.ndarray:
        """Distance of φ from the location in scales."""
        return (phi - self.mean) / self.scale

    def below(self, phi: np.ndarray) -> np.ndarray:
        """Chance of a value of at most φ."""
        return _student_below(self.dof, self.t(phi))

    def above(self, phi: np.ndarray) -> np.ndarray:
        """Chance of a value of at least φ, exact far out where 1 − below would be 0."""
        return _student_below(self.dof, -self.t(phi))

    def log_density(self, phi: np.ndarray) -> np.ndarray:
        """Log-density of φ in 1/logit."""
        from scipy.special import gammaln

        t, dof = self.t(phi), np.where(np.isinf(self.dof), 1.0, self.dof)
        student = gammaln((dof + 1) / 2) - gammaln(dof / 2) - 0.5 * np.log(dof * np.pi) - (dof + 1) / 2 * np.log1p(t * t / dof)
        normal = -0.5 * (t * t + np.log(2 * np.pi))
        return np.where(np.isinf(self.dof), normal, student) - np.log(self.scale)

    def log_below(self, phi: np.ndarray) -> np.ndarray:
        """Logarithm of `below`, exact at both ends."""
        from scipy.special import log_ndtr

        t = self.t(phi)
        with np.errstate(divide="ignore"):  # the branch not taken
            student = np.where(t > 0, np.log1p(-_student_below(self.dof, -t)), np.log(_student_below(self.dof, t)))
        return np.where(np.isinf(self.dof), log_ndtr(t), student)


def bell(
    phi: np.ndarray,
    used: np.ndarray | None = None,
    variance: str = "nig",
    *,
    predictive: bool = True,
    prior_dof: float = PRIOR_DOF,
    pooled: float | None = None,
) -> Bell:
    """The bell of each instance from φ [K, N] of the models marked in `used` [K, N] bool (all of them if None).

    variance: "per" uses each instance's own spread; "pool" one spread for all, from deviations *within* instances
    (never the spread over all entries, which adds how instances differ); "nig" shrinks the own spread to the pooled
    one, weighted as `prior_dof` further models: t with ν₀ + n − 1 degrees of freedom, squared scale
    (ν₀ σ₀² + SS)/(ν₀ + n − 1) · (1 + 1/n). predictive: whether "per" and "pool" also allow for the error of the mean
    and of the spread (t with n − 1 or Σ(n − 1) degrees of freedom, factor 1 + 1/n), as a test needs; otherwise they
    are the plug-in normals of the LiRA paper. pooled: σ₀ in logits if it is known from more instances than these.
    """
    used = np.ones(np.shape(phi), bool) if used is None else used
    n = used.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(used, phi, 0.0).sum(axis=0) / n
        squares = np.where(used, np.asarray(phi, np.float64) - mean, 0.0)
    return bell_of(n, mean, (squares * squares).sum(axis=0), variance, predictive=predictive, prior_dof=prior_dof, pooled=pooled)


def bell_of(
    n: np.ndarray,
    mean: np.ndarray,
    squares: np.ndarray,
    variance: str = "nig",
    *,
    predictive: bool = True,
    prior_dof: float = PRIOR_DOF,
    pooled: float | None = None,
) -> Bell:
    """`bell` from the number of models, their mean and their summed squared deviations, each [..., N]; pools over the last axis."""
    if variance not in VARIANCES:
        raise BadInput("variance", f"{variance!r} is not known.", f"Choose one of: {', '.join(VARIANCES)}.")
    n, squares = np.broadcast_arrays(np.asarray(n, np.float64), squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        free = np.maximum(n - 1, 0).sum(axis=-1, keepdims=True)
        shared = squares.sum(axis=-1, keepdims=True) / free if pooled is None else np.float64(pooled) ** 2
        more = 1 + 1 / n
        if variance == "nig":
            dof = prior_dof + n - 1
            square = (prior_dof * shared + squares) / dof * more
        elif variance == "pool":
            dof, square = free, shared * (more if predictive else 1.0)
        else:
            dof, square = n - 1, squares / (n - 1) * (more if predictive else 1.0)
        dof = dof if predictive or variance == "nig" else np.inf
        scale = np.maximum(np.sqrt(square), FLOOR)
    missing = (n < (2 if variance == "per" else 1)) | ~np.isfinite(scale)
    shape = np.shape(mean)
    return Bell(
        np.asarray(mean),
        np.where(missing, np.nan, np.broadcast_to(scale, shape)),
        np.array(np.broadcast_to(dof, shape), np.float64),
        n.astype(np.int64),
    )


def lira_online(phi: np.ndarray, keep: np.ndarray, target: np.ndarray, variance: str = "pool") -> np.ndarray:
    """LiRA, online: log-density of the target's φ under models that saw the instance minus that under models that did not.

    target: [..., N]; returns [..., N] in nats. Carlini et al., arXiv:2112.03570, algorithm 1.
    """
    saw, never = (bell(phi, side, variance, predictive=False) for side in (keep, ~keep))
    return saw.log_density(target) - never.log_density(target)


def lira_offline(phi: np.ndarray, keep: np.ndarray, target: np.ndarray, variance: str = "pool") -> np.ndarray:
    """LiRA, offline and one-sided: log Pr[φ of a model that never saw the instance ≤ the target's φ], [..., N], at most 0.

    Low confidence counts as never seen, however unusual. Carlini et al., arXiv:2112.03570, equation 4.
    """
    return bell(phi, ~keep, variance, predictive=False).log_below(target)


def u_lira(
    unlearned: np.ndarray,
    keep: np.ndarray,
    target: np.ndarray,
    *,
    null: str = "unlearned",
    original: np.ndarray | None = None,
    variance: str = "nig",
) -> np.ndarray:
    """U-LiRA: log-density of the target's φ under shadows that forgot the instance minus that under the null, [..., N] nats.

    unlearned: [K, N] φ after the same unlearning algorithm ran on every shadow model with the part of the forget set
    that it had seen; keep: [K, N] what the shadow saw before. Null "unlearned": the same unlearned shadows where they
    had never seen the instance (does a forgotten one differ from a never-seen one in the same model?). Null "retrain":
    `original` [K, N], φ of the shadows before unlearning, where they never saw it (can it be told from retraining?).
    Hayes et al., arXiv:2403.01218; the choice of null is ours to name.
    """
    if null not in ("unlearned", "retrain") or (null == "retrain" and original is None):
        raise BadInput("null", f"{null!r} cannot be used here.", 'Choose "unlearned", or "retrain" with the φ of the original shadows.')
    forgot = bell(unlearned, keep, variance, predictive=False)
    return forgot.log_density(target) - bell(unlearned if null == "unlearned" else original, ~keep, variance, predictive=False).log_density(
        target
    )


def rmia_online(
    p_target: np.ndarray,
    p_ref: np.ndarray,
    keep: np.ndarray,
    pz_target: np.ndarray,
    pz_ref: np.ndarray,
    gamma: float = 1.0,
    break_ties: bool = False,
) -> np.ndarray:
    """RMIA, online: share of population points z with (p_target(x)/p(x)) / (p_target(z)/p(z)) ≥ γ, [N] in 0..1.

    p(x) is the mean of the mean probability of the label over reference models that saw x and over those that did not.
    p_target [N], p_ref [K, N], keep [K, N]; pz_target [Z], pz_ref [K, Z] of points that *no* model ever saw (1,000 or
    more of them), float64. break_ties: order equal scores by the ratio of x, adding less than 1/Z.
    Zarifzadeh et al., arXiv:2312.03262.
    """
    usual = 0.5 * (_mean_where(p_ref, keep) + _mean_where(p_ref, ~keep))
    return _rmia(p_target / usual, pz_target / pz_ref.mean(axis=0), gamma, break_ties)


def rmia_offline(
    p_target: np.ndarray,
    p_ref: np.ndarray,
    keep: np.ndarray,
    pz_target: np.ndarray,
    pz_ref: np.ndarray,
    a: float = 0.3,
    gamma: float = 1.0,
    break_ties: bool = False,
) -> np.ndarray:
    """RMIA, offline: as `rmia_online`, from models that never saw x only, [N] in 0..1.

    p(x) = ½((1 + a) p̄_out(x) + 1 − a), and the same for z: `a` says how much seeing an instance raises its
    probability (0: to 1 always, 1: not at all). Zarifzadeh et al., arXiv:2312.03262, appendix on the offline attack.
    """
    out = _mean_where(p_ref, ~keep)
    usual, usual_z = (0.5 * ((1 + a) * mean + 1 - a) for mean in (out, pz_ref.mean(axis=0)))
    return _rmia(p_target / usual, pz_target / usual_z, gamma, break_ties)


def tune_rmia_offline(
    p_paired: np.ndarray,
    member: np.ndarray,
    p_ref: np.ndarray,
    keep: np.ndarray,
    pz_paired: np.ndarray,
    pz_ref: np.ndarray,
    gamma: float = 1.0,
) -> float:
    """The `a` of 0, 0.1 … 1 with the largest AUC of `rmia_offline` on another model than the one to be attacked.

    p_paired, member: [N] of that model, whose membership is known; pz_paired: [Z]. Tuning on the attacked model would leak.
    """
    from unlearn_core.evidence.attacks import auc

    def separation(a: float) -> float:
        scores = rmia_offline(p_paired, p_ref, keep, pz_paired, pz_ref, a, gamma)
        known = np.isfinite(scores)
        return auc(scores[known & member], scores[known & ~member])

    return float(max(np.arange(11) / 10, key=separation))


def memorisation(correct: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """How much more often models that saw an instance predict its label than models that did not, [N] in −1..1.

    correct: [K, N] bool. NaN where one side is empty. Feldman & Zhang, arXiv:2008.03703, equation 1.
    """
    return _mean_where(correct, keep) - _mean_where(correct, ~keep)


def expected_difficulty(phi: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Minus the mean φ of models that never saw the instance, [N] logits: higher is harder, above 0 mostly answered wrongly."""
    return -_mean_where(phi, ~keep)


def exposure(phi: np.ndarray, keep: np.ndarray, prior_dof: float = PRIOR_DOF) -> np.ndarray:
    """How far apart the two bells of an instance stand: (mean φ of models that saw it − of those that did not) / spread, [N].

    d′ of signal detection: the best guess from one model's φ has an AUC of Φ(d′/√2) if both bells are normal with one
    spread, which is shrunk to the pooled one as in "nig". A property of instance and training, not of one model.
    """
    saw, never = (bell(phi, side, "nig", prior_dof=prior_dof) for side in (keep, ~keep))
    squares = [side.scale**2 / (1 + 1 / np.maximum(side.n, 1)) * side.dof for side in (saw, never)]
    return (saw.mean - never.mean) / np.sqrt(sum(squares) / (saw.dof + never.dof))


def split_members(k: int, seed: int, paired: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of the pool members 0 … k − 1, sorted: those that choose points or give targets, those that judge.

    paired: members 2j and 2j + 1 were trained on complementary halves and stay together, so every instance keeps as
    many models on either side.
    """
    group = 2 if paired else 1
    if k < 2 * group or k % group:
        raise BadInput(
            "pool",
            f"{k} members cannot be split into {'pairs that choose and pairs' if paired else 'some that choose and some'} that judge.",
            f"Train {'an even number of at least 4' if paired else 'at least 2'}.",
        )
    order = np.random.default_rng(seed).permutation(k // group)
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    return tuple(np.sort((half[:, None] * group + np.arange(group)).ravel()) for half in halves)


def refuse_shared(choosers: np.ndarray, judges: np.ndarray) -> None:
    """Raises BadInput if a member that chose points, or gave a method its targets, is also to judge them.

    A point chosen for its extreme values is extreme partly by luck; the same models repeat the luck, others do not.
    """
    shared = np.intersect1d(choosers, judges)
    if len(shared):
        raise BadInput(
            "judges",
            f"members {', '.join(map(str, shared[:5]))}{' …' if len(shared) > 5 else ''} of the pool already chose the points.",
            "Judge with members that did not choose.",
        )


def _student_below(dof: np.ndarray, t: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr, stdtr

    finite = np.isfinite(dof)
    return np.where(finite, stdtr(np.where(finite, dof, 1.0), t), ndtr(t))


def _mean_where(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(used, values, 0.0).sum(axis=0, dtype=np.float64) / used.sum(axis=0)


def _rmia(ratio: np.ndarray, ratio_z: np.ndarray, gamma: float, break_ties: bool) -> np.ndarray:
    if not len(ratio_z):
        raise BadInput(
            "population", "RMIA compares with population points, and there are none.", "Keep some instances out of all training."
        )
    found = np.searchsorted(np.sort(ratio_z), ratio / gamma, side="right") / len(ratio_z)
    if break_ties:
        found = found + np.searchsorted(np.sort(ratio), ratio) / (len(ratio) * len(ratio_z))
    return np.where(np.isnan(ratio), np.nan, found)
