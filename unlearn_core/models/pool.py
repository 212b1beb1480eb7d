"""The shadow pool: models of one kind, each on a random subset, trained once and asked again for every later deletion.

It has two halves that share no model. CHOOSE colours the map, ranks points and gives methods their targets; JUDGE
judges. So nothing that was chosen or aimed at is ever judged by the models that chose or aimed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from unlearn_core import seeds
from unlearn_core.data.base import Splits
from unlearn_core.errors import BadInput

VERSION = 1
CHOOSE, JUDGE = ROLES = ("choose", "judge")
UNIVERSES = {
    "all": "every split but population: subsets as large as the training split, each instance left out by some",
    "train": "the training split alone: subsets are smaller than what the original learned",
}
LIKENESS = 0.1  # cosine distance over which another instance's support fades
RIDGE = 3.0
SMALLER = 7 / 8  # the usual share where subsets cannot be as large as the training split


@dataclass(frozen=True)
class Shadows:
    """What one half of a pool says about all N instances: logits [K, N, C] float32; keep [K, N] bool, True where the model saw it.

    unlearned [K, N, C]: the same models after the method under audit ran on each with what it had seen of the forget set.
    again [R, N, C]: the original unlearned R times more, with other seeds of the method. Both None if they were not asked for.
    """

    logits: np.ndarray
    keep: np.ndarray
    unlearned: np.ndarray | None = None
    again: np.ndarray | None = None


def never_seen(shadows: Shadows, ids: np.ndarray, features: np.ndarray | None = None) -> np.ndarray:
    """Log-probabilities [n, C] float32 that models which saw none of `ids` are expected to predict for each of them.

    A shadow misses single instances, a retrained model all of them together, and instances that were picked for something they
    share support each other. So each instance's logits are regressed, over the shadows, on whether the shadow saw it and on how much
    of the rest of the set it saw, weighted by likeness; the prediction is for neither. features [n, d]: representation that likeness
    is measured in (cosine, centred); None: nothing but the mean logits of the shadows that never saw the instance. Linear in
    membership as datamodels are (Ilyas et al., arXiv:2202.00622; used to unlearn by Georgiev et al., arXiv:2410.23232).
    Raises BadInput where an instance was left out by no shadow.
    """
    keep = shadows.keep[:, ids].astype(np.float64)
    if keep.all(axis=0).any():
        raise BadInput("pool", "some instances were seen by every shadow model that gives targets.", "Ask for more shadow models.")
    logits = shadows.logits[:, ids].astype(np.float64)
    logits -= logits.mean(axis=-1, keepdims=True)
    if features is None:
        out = (1 - keep)[..., None]
        found = (logits * out).sum(axis=0) / out.sum(axis=0)
    else:
        unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        likeness = np.exp((unit @ unit.T - 1) / LIKENESS)
        np.fill_diagonal(likeness, 0)
        found = np.stack([_of_neither(keep[:, i], keep @ likeness[i], logits[:, i]) for i in range(len(ids))])
    found -= found.max(axis=-1, keepdims=True)
    return (found - np.log(np.exp(found).sum(axis=-1, keepdims=True))).astype(np.float32)


def _of_neither(own: np.ndarray, support: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Prediction [C] at own = support = 0 of the ridge regression of logits [K, C] on both [K]; only the support is shrunk."""
    x = np.stack([own, support], axis=1)
    x = x / np.maximum(x.std(axis=0), 1e-9)
    middle, mean = x.mean(axis=0), logits.mean(axis=0)
    centred = x - middle
    slope = np.linalg.solve(centred.T @ centred + np.diag([1e-9, RIDGE]), centred.T @ (logits - mean))
    return mean - middle @ slope


def universe(splits: Splits, name: str = "all") -> np.ndarray:
    """The instances that subsets are drawn from, sorted ids. Population points are in none, so they stay unseen by every model."""
    if name == "train":
        return splits.train
    return np.sort(np.concatenate([ids for split, ids in splits.items() if split != "population"]))


def size(splits: Splits, name: str = "all", share: float | None = None) -> int:
    """Instances in each subset: `share` of the universe; None takes as many as the training split has, but at most SMALLER of the universe."""
    whole = len(universe(splits, name))
    # Rounded up, so that a round of `subsets` has room for all the models that `share` promises.
    part = math.ceil((SMALLER if share is None else share) * whole)
    return min(part, len(splits.train)) if share is None else part


def subsets(ids: np.ndarray, count: int, members: int, role: str, seed: int) -> list[np.ndarray]:
    """`members` subsets [count] of `ids`, sorted; the first ones are the same however many are asked for.

    Rounds of one shuffle each: the models of a round leave out disjoint parts of it, so that every instance is
    left out almost equally often. Raises BadInput if a subset would be empty or everything.
    """
    out = len(ids) - count
    if not 0 < count < len(ids):
        raise BadInput("share", f"subsets of {count} from {len(ids)} instances leave nothing in or nothing out.", "Choose a share between.")
    apart = max(len(ids) // out, 1)  # models in a round
    found = []
    for k in range(members):
        order = np.random.default_rng(seeds.derive("pool-subset", role, seed, k // apart)).permutation(ids)
        start = k % apart * out
        found.append(np.sort(np.concatenate([order[:start], order[start + out :]])))
    return found


def membership(parts: list[np.ndarray], total: int) -> np.ndarray:
    """Which instances each subset holds: [K, total] bool."""
    keep = np.zeros((len(parts), total), bool)
    for row, ids in zip(keep, parts, strict=True):
        row[ids] = True
    return keep
