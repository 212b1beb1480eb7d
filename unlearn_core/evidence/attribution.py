"""Which words of a text, or columns of a row, a model's confidence in the given label hangs on: what changes when each is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from unlearn_core.data import parts
from unlearn_core.data.base import Dataset
from unlearn_core.errors import BadInput
from unlearn_core.evidence.base import MIN_RETRAINS, retrained_band
from unlearn_core.evidence.logits import membership

VERSION = 1
MOST = 50  # instances of a run that are looked at
BATCH = 4096  # inputs that a model answers at once

DEFINITION = (
    "The weight of {part} is by how many logits the log-odds of {given}, log(p / (1 − p)), fall when {gone}: above 0 it speaks for {given}, "
    "below 0 against {given}. Each is left out alone, so of two that say the same neither may seem to matter, and weights do not add up."
)
PARTS = {
    "text": ("a word", "that one word is left out and everything else stays (only words that the model reads)"),
    "tabular": ("a column", "its value is replaced by the mean of the training rows, or by their most frequent category"),
}
GIVEN = {"classes": "the given label", "labels": "exactly the given labels together"}  # by task; a number has no odds
SOURCE = "Robnik-Šikonja and Kononenko 2008, TKDE 20(5), weight of evidence; for words Li, Monroe and Jurafsky 2016, arXiv 1612.08220"


def definition(modality: str, task: str = "classes") -> str:
    """What a weight means for the parts of this modality, where the answer is that of `task`."""
    part, gone = PARTS[modality]
    return DEFINITION.format(part=part, gone=gone, given=GIVEN[task])


def weigh(
    predict: Callable[[np.ndarray], np.ndarray], dataset: Dataset, ids: Iterable[int], progress: Callable[[float], None] = lambda _: None
) -> dict[str, np.ndarray]:
    """The weight of every part of each instance: the log-odds of its label (of exactly its labels, where there are several), less those
    without the part. Log-odds, since log p hardly moves where a model is sure.

    predict: inputs [n, d] → logits [n, C]. Returns ids [n]; start [n + 1], where the parts of each instance begin; logits [start[-1]] float32.
    Raises BadInput for instances whose parts have no names.
    """
    if dataset.task == "number":
        raise BadInput("instances", "a number has no odds that could hang on a part.", "Look at the errors.")
    if dataset.modality not in parts.MODALITIES:
        raise BadInput("instances", f"{dataset.modality} data has no words or columns to leave out.", "Look at the pictures or the map.")
    ids = np.asarray(list(ids), dtype=np.int64)
    value = parts.usual(dataset) if dataset.modality == "tabular" else None
    start = np.concatenate([[0], np.cumsum([parts.count(dataset, i) for i in ids])]).astype(np.int64)
    logits = np.zeros(start[-1], np.float32)
    held: list[tuple[int, np.ndarray, np.ndarray]] = []  # row, inputs with the whole instance first, places of what they lack

    def answer() -> None:
        z = predict(np.concatenate([inputs for _, inputs, _ in held]))
        done = 0
        for row, inputs, at in held:
            same = np.full(len(inputs), ids[row])
            own = membership(z[done : done + len(inputs)], dataset.labels[same], None if dataset.targets is None else dataset.targets[same])
            logits[start[row] + at] = own[0] - own[1:]
            done += len(inputs)
        held.clear()

    for row, i in enumerate(ids):
        lacking, at = parts.without(dataset, i, value)
        held.append((row, np.concatenate([dataset.inputs[i : i + 1], lacking]), at))
        if sum(len(inputs) for _, inputs, _ in held) >= BATCH or row == len(ids) - 1:
            answer()
            progress((row + 1) / len(ids))
    return {"ids": ids, "start": start, "logits": logits}


def joined(stored: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `weigh` gave for some instances and for further ones, as one; where both know an instance the new one counts."""
    keep = ~np.isin(stored["ids"], found["ids"])
    lengths = np.diff(stored["start"])
    logits = np.concatenate([stored["logits"][np.repeat(keep, lengths)], found["logits"]])
    start = np.concatenate([[0], np.cumsum(np.concatenate([lengths[keep], np.diff(found["start"])]))]).astype(np.int64)
    return {"ids": np.concatenate([stored["ids"][keep], found["ids"]]), "start": start, "logits": logits}


def compared(who: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The weights of several models on the same instances as one view. who: by model ("original", "unlearned", "retrained:0" …), from `weigh`.

    ids, start; original, unlearned: [parts]; retrained: [k, parts]; low, high: [parts] the interval of one more retrained model, NaN
    where there are too few.
    """
    first = next(iter(who.values()))
    retrained = [found["logits"] for name, found in who.items() if name.startswith("retrained:")]
    stacked = np.stack(retrained) if retrained else np.empty((0, len(first["logits"])), np.float32)
    ends = np.full((2, stacked.shape[1]), np.nan, np.float32)
    if len(stacked) >= MIN_RETRAINS:
        bands = (retrained_band(values) for values in stacked.T.tolist())
        ends = np.array([(band.low, band.high) for band in bands], np.float32).reshape(-1, 2).T
    singles = {name: who[name]["logits"] for name in ("original", "unlearned") if name in who}
    return {"ids": first["ids"], "start": first["start"], **singles, "retrained": stacked, "low": ends[0], "high": ends[1]}


def same_first(view: dict[str, np.ndarray]) -> dict[str, float]:
    """The share of instances whose heaviest part is the same as in a retrained model, mean over those; "retrained": among themselves.

    Empty without retrained models; without "retrained" where there is only one.
    """

    def heaviest(logits: np.ndarray) -> np.ndarray:
        return np.array([np.abs(logits[a:b]).argmax() for a, b in zip(view["start"][:-1], view["start"][1:], strict=True) if b > a])

    others = [heaviest(logits) for logits in view["retrained"]]
    if not others:
        return {}
    shares = {
        who: float(np.mean([(heaviest(view[who]) == other).mean() for other in others])) for who in ("original", "unlearned") if who in view
    }
    pairs = [(others[a] == others[b]).mean() for a in range(len(others)) for b in range(a)]
    return shares | ({"retrained": float(np.mean(pairs))} if pairs else {})
