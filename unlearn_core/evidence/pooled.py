"""A subject seen through the judging half of a shadow pool: scores of every attack, and the pool's verdicts with their calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unlearn_core.evidence import pool_attacks, verdicts
from unlearn_core.evidence.attacks import confidence_of, confidences, logit_scaled_confidence
from unlearn_core.evidence.base import Measure, Subject, awaited, retrained_band
from unlearn_core.evidence.pool_attacks import Bell

VARIANCE = "nig"
REFUSED = "refused"
TOO_OFTEN, LEAST_FLAGS = 0.15, 5  # of exact retrains' answers on the set itself, in one direction
USUAL_A = 0.3  # of RMIA offline, where nothing is there to tune it on
NAMES = {"told_apart": verdicts.STILL, "over_forgotten": verdicts.OVER}


@dataclass(frozen=True)
class Pooled:
    """phi, keep: [K, N] of the shadows on all instances."""

    subject: Subject
    phi: np.ndarray
    keep: np.ndarray

    @staticmethod
    def of(subject: Subject) -> Pooled:
        return Pooled(subject, confidences(subject.shadows.logits, subject.labels), subject.shadows.keep)

    def target(self, who: str) -> np.ndarray:
        """φ of one of the run's models on all instances, [N]."""
        return self.subject.once(
            ("pooled.phi", who), lambda: logit_scaled_confidence(self.subject.outputs(who).logits, self.subject.labels)
        )

    def attack(self, name: str) -> tuple[Callable[[str], np.ndarray] | None, str | None]:
        """Scores [N] of a model under one attack, or None and why there are none."""
        if name.startswith("lira"):
            against = pool_attacks.lira_online if name == "lira_online" else pool_attacks.lira_offline
            return lambda who: against(self.phi, self.keep, self.target(who), VARIANCE), None
        z = self.subject.splits.population
        if not len(z) or self.keep[:, z].any():
            return None, "RMIA compares with population instances that no model saw, and there are none"
        p, online = confidence_of(self.phi), name == "rmia_online"
        if online:
            return lambda who: pool_attacks.rmia_online(
                confidence_of(self.target(who)), p, self.keep, confidence_of(self.target(who))[z], p[:, z], break_ties=True
            ), None
        a = self._tuned
        return lambda who: pool_attacks.rmia_offline(
            confidence_of(self.target(who)), p, self.keep, confidence_of(self.target(who))[z], p[:, z], a, break_ties=True
        ), None

    @cached_property
    def _tuned(self) -> float:
        """`a` of RMIA offline, tuned on the first shadow against the others: tuning on the attacked model would leak."""
        z, p = self.subject.splits.population, confidence_of(self.phi)
        member, others = self.keep[0], self.keep[1:]
        known = self.keep.any(axis=0) & ~others.all(axis=0)
        if not (known & member).any() or not (known & ~member).any():
            return USUAL_A
        return pool_attacks.tune_rmia_offline(p[0][known], member[known], p[1:][:, known], others[:, known], p[0][z], p[1:][:, z])

    @property
    def forgotten(self) -> np.ndarray:
        """φ [K, n] of the shadows on the forget set, before unlearning."""
        return self.phi[:, self.subject.forget]

    @property
    def keep_forgotten(self) -> np.ndarray:
        return self.keep[:, self.subject.forget]

    @cached_property
    def unlearned(self) -> np.ndarray:
        """φ [K, n] of the shadows on the forget set, after the method ran on them."""
        rows = self.subject.forget
        return confidences(self.subject.shadows.unlearned[:, rows], self.subject.labels[rows])

    def u_lira(self, who: str) -> np.ndarray:
        """Log-density of this model's answers as forgotten minus as never seen, [n] nats."""
        return pool_attacks.u_lira(self.unlearned, self.keep_forgotten, self.target(who)[self.subject.forget])


def judged(subject: Subject, pool: Pooled) -> tuple[list[Measure], dict[str, dict[str, np.ndarray]]]:
    """The pool's verdicts on the forget set for every model, corrected by the retrained models where there are any."""
    rows = np.sort(subject.forget)
    retrained = np.stack([pool.target(f"retrained:{k}") for k in range(len(subject.retrained))]) if len(subject.retrained) else None
    raw = verdicts.never_seen(pool.phi, ~pool.keep)
    bell, check = raw, None
    never = np.ones(len(subject.labels), bool)
    never[subject.retain] = False
    checkable = (never & np.isfinite(raw.scale)).sum() > 1
    if retrained is not None and checkable:
        never = np.broadcast_to(never, retrained.shape)
        check = verdicts.calibrate(raw, retrained, never, seed=subject.seed)
        bell = check.correction.apply(raw)
    found = {who: verdicts.judge(pool.target(who)[rows], _at(bell, rows)) for who in ("original", "unlearned")}
    each = []
    for k in range(len(subject.retrained)):
        # Each one by a correction from the others, as the unlearned model is by one from models other than itself.
        others = np.arange(len(retrained)) != k
        fitted = verdicts.correction_of(raw, retrained[others], never[others]).apply(raw) if check and others.any() else raw
        each.append(verdicts.judge(retrained[k][rows], _at(fitted, rows)))
    lacking = "there are no retrained models to check the pool with" if checkable else "too few shadow models left an instance out"
    own = _on_the_set(each)
    text = f"{check.text}{own[0]}" if check else f"Not checked: {lacking}"
    refused = own[1] if check else f"the pool was not checked: {lacking}"
    measures = [_share(subject, id, name, found, each, text, refused) for id, name in NAMES.items()]
    saw = pool_attacks.bell(pool.phi[:, rows], pool.keep[:, rows], VARIANCE)
    now = found["unlearned"]
    view = {
        "ids": rows,
        "label": subject.labels[rows],
        "original": pool.target("original")[rows],
        "unlearned": pool.target("unlearned")[rows],
        "retrained": retrained[:, rows] if retrained is not None else np.zeros((0, len(rows))),
        **{f"never.{name}": values for name, values in _columns(_at(bell, rows)).items()},
        **{f"saw.{name}": values for name, values in _columns(saw).items()},
        "p": now.p,
        "verdict": _unless(refused, now.verdict),
        "verdict_controlled": _unless(refused, now.controlled),
        "verdict_original": _unless(refused, found["original"].verdict),
        "memorisation": pool_attacks.memorisation(
            subject.shadows.logits[:, rows].argmax(axis=-1) == subject.labels[rows], pool.keep[:, rows]
        ),
        "difficulty": pool_attacks.expected_difficulty(pool.phi[:, rows], pool.keep[:, rows]),
        "exposure": pool_attacks.exposure(pool.phi[:, rows], pool.keep[:, rows]),
    }
    return measures, {"shadow_instances": view, "shadow_check": {"text": np.array(text), "refused": np.array(refused or "")}}


def _on_the_set(each: list[verdicts.Verdicts]) -> tuple[str, str | None]:
    """What the pool says of exact retrains on the forget set itself, in words, and why its verdicts there are refused, if they are.

    The check over all unseen instances can hide this: instances that support each other are missed one by one by shadows and all
    together by retrained models, so on a tight cluster a pool may call most exact retrains over-forgotten.
    """
    judged = np.concatenate([one.verdict[one.verdict != verdicts.FEW] for one in each]) if each else np.array([])
    if not len(judged):
        return "", None
    flags = {name: int((judged == name).sum()) for name in NAMES.values()}
    said = " and ".join(f"{count / len(judged):.0%} {name}" for name, count in flags.items())
    wrong = any(count > TOO_OFTEN * len(judged) and count >= LEAST_FLAGS for count in flags.values())
    reason = (
        f"on these very instances the pool calls exact retraining {said}, where 5 % each is right: they support each other too much for it. "
        "Believe the section Instances, which needs more retrained models"
    )
    return f"; on these very instances: {said}", reason if wrong else None


def _unless(refused: str | None, verdict: np.ndarray) -> np.ndarray:
    return np.where(verdict == verdicts.FEW, verdict, REFUSED) if refused else verdict


def _share(subject: Subject, id: str, name: str, found: dict, each: list, text: str, refused: str | None) -> Measure:
    known = found["unlearned"].verdict != verdicts.FEW
    n = int(known.sum())
    if not n:
        return Measure(f"shadows.{id}.forget", "forget", reliability="weak", reason=f"{verdicts.FEW}; {text}", n=len(known))
    share = {who: float((judged.verdict[known] == name).mean()) for who, judged in found.items()}
    # Where the others give a retrained model no correction it has no verdict either, which is not "not told apart".
    judged = [one.verdict[one.verdict != verdicts.FEW] for one in each]
    band = retrained_band([float((verdict == name).mean()) for verdict in judged if len(verdict)], 1 / n)
    lacks = awaited(subject)
    reason = "; ".join(text for text in (text, lacks) if text)
    return Measure(
        f"shadows.{id}.forget",
        "forget",
        share["original"],
        share["unlearned"],
        band,
        reliability="weak" if refused else "estimate",
        reason=reason,
        n=n,
        refused=refused,
    )


def _at(bell: Bell, rows: np.ndarray) -> Bell:
    return Bell(**{name: values[rows] for name, values in _columns(bell).items()})


def _columns(bell: Bell) -> dict[str, np.ndarray]:
    return {"mean": bell.mean, "scale": bell.scale, "dof": bell.dof, "n": bell.n}
