"""Each forgotten instance by itself: can it still be told apart from one that the model never saw?

The answer comes from the models that were retrained without exactly this forget set, so it needs no shadow models
and is exact up to their number. Their own verdicts, each judged by the others, stand beside it.
"""

from __future__ import annotations

import numpy as np

from unlearn_core.evidence.attacks import logit_scaled_confidence
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, awaited, missing, retrained_band
from unlearn_core.evidence.readable import readable

ENOUGH = 5  # retrained models: each one's own verdict needs four others

EVIDENCE = Evidence(
    name="instances",
    title="Instances",
    version=1,
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
        ),
        Definition(
            "instances.over_forgotten",
            "Over-forgotten",
            "Share of the forgotten instances about which the model is less sure than models that never saw them would be, each judged at "
            "5 %. Such instances stand out again: their absence shows. As above, the share itself gets no verdict.",
            "share",
            verdict=False,
            source="Carlini et al., arXiv:2112.03570 (per-example test), with exact retrains in place of shadow models",
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """Shares of both verdicts for every model, and the view "instances" with each instance's numbers.

    view, n forgotten instances: ids, label [n]; original, unlearned [n], retrained [k, n]: φ in logits; low, high [n]: where
    a model that never saw the instance lies in 90 % of cases; p_told_apart [n]; verdict, verdict_controlled [n] str
    (the latter under false-discovery control); detectable [n]: smallest shift that would be seen; way [n]: share of the
    way from the original to never seen, NaN where that way is too short to tell.
    """
    subject, reason = readable(subject, features=False)
    families = [d.id for d in EVIDENCE.definitions]
    k = len(subject.retrained)
    if k < ENOUGH or subject.unlearned is None:
        said = reason or f"verdicts on single instances need {ENOUGH} retrained models, {k} so far"
        said = awaited(subject) if subject.settings.get("retrains") == 0 else said
        return Findings([missing(id, "forget", said, len(subject.forget)) for id in families])
    from unlearn_core.evidence import verdicts

    phi = {who: _phi(subject, who) for who in subject.names()}
    retrained = np.stack([phi[f"retrained:{j}"] for j in range(k)])
    never = verdicts.never_seen(retrained)
    judged = {who: verdicts.judge(phi[who], never) for who in ("original", "unlearned")}
    each = verdicts.judge_each(retrained)
    half = never.scale * _quantile(never, 1 - verdicts.ALPHA)
    found = judged["unlearned"]
    view = {
        "ids": subject.forget,
        "label": subject.labels[subject.forget],
        "original": phi["original"],
        "unlearned": phi["unlearned"],
        "retrained": retrained,
        "low": never.mean - half,
        "high": never.mean + half,
        "p_told_apart": found.p,
        "verdict": found.verdict,
        "verdict_controlled": found.controlled,
        "detectable": found.detectable,
        "way": verdicts.share_of_the_way(phi["original"], phi["unlearned"], never),
    }
    measures = [_share(id, name, judged, each, reason) for id, name in zip(families, (verdicts.STILL, verdicts.OVER), strict=True)]
    return Findings(measures, {"instances": view})


def _phi(subject: Subject, who: str) -> np.ndarray:
    rows = subject.forget
    return subject.once(("instances.phi", who), lambda: logit_scaled_confidence(subject.outputs(who).logits[rows], subject.labels[rows]))


def _quantile(never, level: float) -> np.ndarray:
    from scipy.stats import t

    return t.ppf(level, never.dof)


def _share(id: str, name: str, judged: dict, each, reason: str | None) -> Measure:
    shares = {who: float((found.verdict == name).mean()) for who, found in judged.items()}
    n = judged["unlearned"].verdict.shape[-1]
    band = retrained_band((each.verdict == name).mean(axis=-1), 1 / n)
    return Measure(f"{id}.forget", "forget", shares["original"], shares["unlearned"], band, reason=reason, n=n)
