"""Relearning: how fast a model learns the forgotten instances again, beside models that never saw them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unlearn_core.data.base import TASKS
from unlearn_core.evidence.across import PROBE
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, awaited, missing, retrained_band
from unlearn_core.evidence.readable import DIVERGED, REFERENCES_DIVERGED

ORDERS = (0, 1, 2)  # seeds of the order in which the instances come; a model's curve is the mean over them
RACED = 8  # retrained models: more would cost more than they sharpen
LEAST = 0.01  # nats: a smaller difference in mean loss is nothing to relearn

EVIDENCE = Evidence(
    name="relearning",
    title="Relearning",
    version=1,
    order=70,
    definitions=(
        Definition(
            "relearning.epochs",
            "Epochs to relearn",
            "Passes over the forgotten instances until the mean loss on them is half-way between where retrained models start and where the "
            "original is; 0 where it is there without learning. The original's own loss would be the full way, but few races get that far. "
            "Fewer epochs than retrained models need means that something of the instances is still in the weights.",
            "epochs",
            source="relearn time of Golatkar et al., arXiv:1911.04933; compare the anamnesis index of Chundawat et al., arXiv:2201.05629",
            tasks=TASKS,
        ),
        Definition(
            "relearning.area",
            "Mean loss of the race",
            "Loss on the forgotten instances, averaged over all points of the race. Lower than after retraining means that the model knows them "
            "better or learns them faster than one that never saw them; higher, that it was pushed away from them. It needs no "
            f"threshold; differences below {LEAST} nats count as none.",
            "nats",
            source="relearn curves of Golatkar et al., arXiv:1911.04933",
            tasks=TASKS,
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """Both measures and the views "relearn_loss" and "relearn_accuracy", once there is a retrained model to race against.

    views: epoch [E + 1]; original, unlearned [E + 1], retrained [k, E + 1], means over ORDERS. "relearn_loss" also has target [], the loss
    that relearning.epochs asks for, where there is one.
    """
    n = min(len(subject.forget), PROBE)
    families = [definition.id for definition in EVIDENCE.definitions]
    lacking = awaited(subject) if not subject.retrained else None
    if not n:
        lacking = "nothing is forgotten"
    elif subject.relearn is None:
        lacking = "these models cannot be trained on"
    if lacking:
        return Findings([missing(id, "forget", lacking, n) for id in families])
    racing = replace(subject, retrained=subject.retrained[:RACED]).names()
    races = {who: race(subject, who) for who in racing}
    finite = {who: curves for who, curves in races.items() if np.isfinite(curves).all()}
    retrained = [who for who in finite if who.startswith("retrained:")]
    if "original" not in finite or not retrained:
        return Findings([missing(id, "forget", "training on gave no finite losses", n) for id in families])
    said = [
        DIVERGED if "unlearned" in races and "unlearned" not in finite else None,
        REFERENCES_DIVERGED if len(retrained) < min(RACED, len(subject.retrained)) else None,
        f"from a sample of {n:,} forgotten instances" if n < len(subject.forget) else None,
        f"only the first {RACED} of {len(subject.retrained)} retrained models raced" if len(subject.retrained) > RACED else None,
        awaited(subject),
    ]
    target = half_way(finite["original"][0], np.stack([finite[who][0] for who in retrained]))
    measures = [
        epochs(finite, target, n, said),
        _measure("relearning.area", {who: float(losses.mean()) for who, (losses, _) in finite.items()}, n, said, resolution=LEAST),
    ]
    views = {
        f"relearn_{name}": _view(finite, retrained, row)
        for row, name in enumerate(("loss",) if subject.task == "number" else ("loss", "accuracy"))
    }
    views["relearn_loss"] |= {} if target is None else {"target": np.array(target)}
    return Findings(measures, views)


def race(subject: Subject, who: str) -> np.ndarray:
    """Mean loss and accuracy on the forget set before and after every epoch of learning it again, [2, E + 1], averaged over ORDERS."""
    return np.mean(
        [subject.once(("relearning", who, seed), lambda seed=seed: np.stack(subject.relearn(who, seed))) for seed in ORDERS], axis=0
    )


def half_way(original: np.ndarray, retrained: np.ndarray) -> float | None:
    """The loss between the mean start of the retrained models and the start of the original; None where they are less than LEAST apart.

    original: [E + 1]; retrained: [k, E + 1]; losses in nats.
    """
    before, never = float(original[0]), float(retrained[:, 0].mean())
    return (before + never) / 2 if never - before >= LEAST else None


def reached(losses: np.ndarray, target: float) -> float | None:
    """Epochs until `losses` [E + 1] are first at most `target`, linear between two epochs; None if that never happens."""
    below = np.flatnonzero(losses <= target)
    if not len(below):
        return None
    first = int(below[0])
    if first == 0:
        return 0.0
    before, after = losses[first - 1], losses[first]
    return first - 1 + float((before - target) / (before - after))


def epochs(races: dict[str, np.ndarray], target: float | None, n: int, said: list[str | None]) -> Measure:
    """Epochs to `target`. Where the race ended before, it counts as the whole race and is said; retrained models so cut give no verdict."""
    id = "relearning.epochs"
    if target is None:
        reason = f"retrained models know these instances as well as the original, within {LEAST} nats: there is nothing to relearn"
        return missing(id, "forget", reason, n)
    last = races["original"].shape[1] - 1
    found = {who: reached(losses, target) for who, (losses, _) in races.items()}
    late = [who for who, value in found.items() if value is None]
    retrained = [who for who in found if who.startswith("retrained:")]
    unfinished = len({*late} & {*retrained})
    said = [*said, f"the unlearned model needs more than the {last} epochs of the race" if "unlearned" in late else None]
    cut = f"{unfinished} of {len(retrained)} retrained models need more than the {last} epochs of the race; the mean loss counts instead"
    values = {who: float(last) if value is None else value for who, value in found.items()}
    return _measure(id, values, n, said, refused=cut if unfinished else None)


def _measure(id: str, values: dict[str, float], n: int, said: list[str | None], resolution: float = 0.0, **rest) -> Measure:
    retrained = [value for who, value in values.items() if who.startswith("retrained:")]
    reason = "; ".join(filter(None, said)) or None
    weak = any(text in said for text in (DIVERGED, REFERENCES_DIVERGED))
    return Measure(
        f"{id}.forget", "forget", values["original"], values.get("unlearned"), retrained_band(retrained, resolution),
        reliability="weak" if weak else "estimate", reason=reason, n=n, **rest,
    )  # fmt: skip


def _view(races: dict[str, np.ndarray], retrained: list[str], row: int) -> dict[str, np.ndarray]:
    single = {who: races[who][row] for who in ("original", "unlearned") if who in races}
    curves = np.stack([races[who][row] for who in retrained])
    return {"epoch": np.arange(curves.shape[1])} | single | {"retrained": curves}
