"""Each forgotten instance by itself: can it still be told apart from one that the model never saw?

The answer comes from the models that were retrained without exactly this forget set, so it needs no shadow models
and is exact up to their number. Their own verdicts, each judged by the others, stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from unlearn_core.evidence import verdicts
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, awaited, missing, per_model, retrained_band
from unlearn_core.evidence.logits import membership_of, right
from unlearn_core.evidence.readable import readable

ENOUGH = 5  # retrained models: each one's own verdict needs four others
OTHER_GOAL = "the method's goal is wrong answers on the forgotten instances, not to be like retraining"

EVIDENCE = Evidence(
    name="instances",
    title="Instances",
    version=2,
    order=50,
    definitions=(
        Definition(
            "instances.told_apart",
            "Still told apart",
            "Share of the forgotten instances about which the model is surer than models that never saw them would be, each instance "
            "judged by itself at 5 %. About 5 % of exactly retrained answers are flagged too; those shares stand beside it. One model's "
            "instances move together, so the share itself gets no verdict.",
            "share",
            verdict=False,
            source="Carlini et al., arXiv:2112.03570 (per-example test), with exact retrains in place of shadow models",
            tasks=("classes", "labels"),
            needs="a confidence in the given answer",
        ),
        Definition(
            "instances.over_forgotten",
            "Over-forgotten",
            "Share of the forgotten instances about which the model is less sure than models that never saw them would be, each judged at "
            "5 %. Such instances stand out again: their absence shows. As above, the share itself gets no verdict.",
            "share",
            verdict=False,
            source="Carlini et al., arXiv:2112.03570 (per-example test), with exact retrains in place of shadow models",
            tasks=("classes", "labels"),
            needs="a confidence in the given answer",
        ),
        Definition(
            "instances.uniformity",
            "The set as a whole",
            "Each forgotten instance has a p-value: the chance that a model which never saw it is at least as sure of it. Under exact "
            "retraining all values from 0 to 1 are equally likely. This is the largest gap between the share of instances with a p-value "
            "up to some level and that level: 0 = as even as exact retraining gives on average over many models.",
            "share",
            source="Kolmogorov–Smirnov distance",
            tasks=("classes", "labels"),
            needs="a confidence in the given answer",
        ),
        Definition(
            "instances.misclassified",
            "Answered wrongly",
            "Share of the forgotten instances whose given label the model does not predict. Only for methods whose goal is misclassification; "
            "their ideal is 1. Retraining does not aim at this: what it gives stands beside.",
            "share",
            verdict=False,
            source="elementary",
            tasks=("classes", "labels"),
            needs="answers that are right or wrong",
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """Shares of both verdicts for every model, the evenness of the p-values, and the views that show each instance.

    View "instances", n forgotten instances, k retrained models, φ in logits: ids, label [n]; original, unlearned [n], retrained
    [k, n]: φ; mean, scale, dof [n]: the bell of models that never saw the instance (Student t); low, high [n]: where one more lies
    in 90 % of cases; verdict_original, verdict, verdict_controlled [n] str (the last under false-discovery control);
    verdict_retrained, controlled_retrained [k, n] int8, places in verdicts.NAMES: each retrained model judged by the others;
    p_original, p_told_apart [n], p_retrained [k, n]; detectable [n]: smallest shift that would be seen; way [n]: share of the way
    from the original to never seen, NaN where that way is too short to tell.
    View "uniformity", p-values in rising order: expected, low, high [n]: uniform ones with their pointwise 95 % band; original,
    unlearned [n], retrained [k, n]; p_plain, p_calibrated []: of the KS test of the unlearned model, taking instances for
    independent and from the retrained models' own distances.
    """
    subject, reason = readable(subject, features=False)
    n, k = len(subject.forget), len(subject.retrained)
    beside = [_misclassified(subject, reason)] if subject.settings.get("goal") == "misclassify" else []
    if k < ENOUGH or subject.unlearned is None:
        said = reason or f"verdicts on single instances need {ENOUGH} retrained models, {k} so far"
        said = awaited(subject) if subject.settings.get("retrains") == 0 else said
        return Findings(
            [*(missing(f"instances.{name}", "forget", said, n) for name in ("told_apart", "over_forgotten", "uniformity")), *beside]
        )
    phi = {who: _phi(subject, who) for who in subject.names()}
    retrained = np.stack([phi[f"retrained:{j}"] for j in range(k)])
    never = verdicts.never_seen(retrained)
    low, high = verdicts.edges(never)
    judged = {who: verdicts.judge(phi[who], never) for who in ("original", "unlearned")}
    each, found = verdicts.judge_each(retrained), judged["unlearned"]
    view = {
        "ids": subject.forget,
        "label": subject.labels[subject.forget],
        "original": phi["original"],
        "unlearned": phi["unlearned"],
        "retrained": retrained,
        "mean": never.mean,
        "scale": never.scale,
        "dof": never.dof,
        "low": low,
        "high": high,
        "verdict_original": judged["original"].verdict,
        "verdict": found.verdict,
        "verdict_controlled": found.controlled,
        "verdict_retrained": _coded(each.verdict),
        "controlled_retrained": _coded(each.controlled),
        "p_original": judged["original"].p,
        "p_told_apart": found.p,
        "p_retrained": each.p,
        "detectable": found.detectable,
        "way": verdicts.share_of_the_way(phi["original"], phi["unlearned"], never),
    }
    p = {who: one.p for who, one in judged.items()} | {"retrained": each.p}
    reason = "; ".join(filter(None, (reason, OTHER_GOAL if beside else None))) or None
    measures = [
        _measure("told_apart", judged, each, n, lambda one: (one.verdict == verdicts.STILL).mean(axis=-1), 1 / n, reason),
        _measure("over_forgotten", judged, each, n, lambda one: (one.verdict == verdicts.OVER).mean(axis=-1), 1 / n, reason),
        _measure("uniformity", judged, each, n, lambda one: np.apply_along_axis(verdicts.ks_distance, -1, one.p), 0.0, reason),
    ]
    return Findings([*measures, *beside], {"instances": view, "uniformity": _uniformity(p)})


def waffles(view: Mapping[str, np.ndarray]) -> dict[str, verdicts.Waffle]:
    """Counts of the verdicts of the view "instances": "original", "unlearned" and, under false-discovery control, "controlled"."""
    names = np.array(verdicts.NAMES)
    each, controlled = names[view["verdict_retrained"]], names[view["controlled_retrained"]]
    return {
        "original": verdicts.waffle(view["verdict_original"], each),
        "unlearned": verdicts.waffle(view["verdict"], each),
        "controlled": verdicts.waffle(view["verdict_controlled"], controlled),
    }


def _coded(names: np.ndarray) -> np.ndarray:
    return np.select([names == name for name in verdicts.NAMES], range(len(verdicts.NAMES))).astype(np.int8)


def _uniformity(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = verdicts.uniformity(p["unlearned"], p["retrained"])
    view = {who: np.sort(values, axis=-1) for who, values in p.items()}
    tests = {"p_plain": found.p, "p_calibrated": found.p_calibrated}
    return {"expected": found.expected, "low": found.low, "high": found.high} | view | {name: np.array(p) for name, p in tests.items()}


def _misclassified(subject: Subject, reason: str | None) -> Measure:
    rows, n = subject.forget, len(subject.forget)

    def wrong(who: str) -> float:
        return (~right(subject, who)[rows]).mean()

    return per_model(subject, "instances.misclassified", "forget", wrong, n=n, resolution=1 / n, reason=reason)


def _phi(subject: Subject, who: str) -> np.ndarray:
    rows = subject.forget
    return subject.once(("instances.phi", who), lambda: membership_of(subject, who, rows))


def _measure(
    name: str,
    judged: dict[str, verdicts.Verdicts],
    each: verdicts.Verdicts,
    n: int,
    value: Callable[[verdicts.Verdicts], np.ndarray],
    resolution: float,
    reason: str | None,
) -> Measure:
    got = {who: float(value(found)) for who, found in judged.items()}
    return Measure(f"instances.{name}.forget", "forget", **got, retrained=retrained_band(value(each), resolution), reason=reason, n=n)
