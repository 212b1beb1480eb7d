"""Exact slices through input space: the plane and the path through three chosen instances, the same for all models.

Where inputs are words or categories the slice runs through mixes of the three: every place is a set of shares (w₁, w₂, w₃) that sum to 1, negative
outside the triangle. All models get the same shares, each mixes in its own embedding, and the original's embedding gives the distances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from unlearn_core.data.base import ANSWERS, in_units
from unlearn_core.errors import BadInput
from unlearn_core.evidence.across import stacked
from unlearn_core.evidence.base import Measure, Subject, to_retrained
from unlearn_core.evidence.logits import log_softmax

GRID = 60
PAD = 0.25
STEPS = 40
COLLINEAR = 1e-4  # of the distance; below it the second direction is rounding error of float32 inputs


@dataclass(frozen=True)
class Plane:
    """A grid on the plane through three inputs: x = origin + a·basis[0] + b·basis[1].

    a, b: [G] coordinates in input units. corners: [3, 2] coordinates of the three inputs. origin: [d], basis: [2, d] orthonormal.
    shape: of one input.
    """

    a: np.ndarray
    b: np.ndarray
    corners: np.ndarray
    origin: np.ndarray
    basis: np.ndarray
    shape: tuple[int, ...]

    @property
    def at(self) -> np.ndarray:
        """Coordinates of the grid, [G·G, 2], b outer and a inner."""
        return np.stack(np.meshgrid(self.a, self.b), axis=-1).reshape(-1, 2)

    @property
    def points(self) -> np.ndarray:
        """The inputs there, [G·G, *shape] float32."""
        return (self.origin + self.at @ self.basis).reshape(-1, *self.shape).astype(np.float32)

    @property
    def weights(self) -> np.ndarray:
        """The shares of the three inputs there, [G·G, 3]."""
        return shares(self.at, self.corners)


def plane(x1: np.ndarray, x2: np.ndarray, x3: np.ndarray, grid: int = GRID, pad: float = PAD) -> Plane:
    """The plane through three inputs, `pad` of its longer side wider than their bounding box.

    Somepalli et al., Can neural nets learn the same model twice?, CVPR 2022, arXiv:2203.08124.
    Raises BadInput if the three lie on one line.
    """
    shape = np.shape(x1)
    origin, second, third = (np.asarray(x, dtype=np.float64).ravel() for x in (x1, x2, x3))
    across, other = second - origin, third - origin
    length = np.linalg.norm(across)
    first = across / length if length else across
    up = other - (other @ first) * first
    height = np.linalg.norm(up)
    if height <= COLLINEAR * max(np.linalg.norm(other), length) or not length:
        raise BadInput("triplet", "the three instances lie on one line, so they span no plane.", "Choose three instances that differ.")
    basis = np.stack([first, up / height])
    corners = np.array([[0.0, 0.0], [length, 0.0], [other @ first, height]])
    margin = pad * np.ptp(corners, axis=0).max()
    a, b = (np.linspace(corners[:, i].min() - margin, corners[:, i].max() + margin, grid) for i in (0, 1))
    return Plane(a, b, corners, origin, basis, shape)


def shares(at: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [M, 3] of places `at` [M, 2] in the triangle `corners` [3, 2]: at = shares @ corners, and they sum to 1."""
    later = np.linalg.solve((corners[1:] - corners[0]).T, (at - corners[0]).T).T
    return np.column_stack([1 - later.sum(axis=1), later])


def choose_triplet(subject: Subject, instance: int) -> np.ndarray:
    """Ids [instance, nearest retained of the same given label, nearest retained of the competing class].

    Near by the original model's features; the competing class is the original model's best other class.
    Only the original decides, so that every method and every retrained model is shown the same plane.
    Instances that would span no plane are passed over. Raises BadInput if none are left.
    """
    features, labels, retain = subject.original.features, subject.labels, subject.retain
    ordered = retain[np.argsort(np.square(features[retain].astype(np.float64) - features[instance]).sum(axis=1), kind="stable")]
    ranked = np.argsort(-subject.original.logits[instance], kind="stable")
    competing = next((c for c in ranked if c != labels[instance] and (labels[ordered] == c).any()), None)
    rivals = ordered[labels[ordered] == competing]
    same = ordered[labels[ordered] == labels[instance]]
    if not len(same):  # the whole class is forgotten: any other retained instance serves
        same = ordered[labels[ordered] != competing]

    def unlike(ids: np.ndarray) -> list[int]:
        twin = lambda i: np.array_equal(subject.inputs[i], subject.inputs[instance])  # noqa: E731
        return list(islice((i for i in ids if not twin(i)), 5))

    for second in unlike(same):
        for third in unlike(rivals):
            try:
                plane(*vectors(subject, np.array([instance, second, third])), grid=2)
            except BadInput:
                continue
            return np.array([instance, second, third], dtype=np.int64)
    raise BadInput("triplet", f"no retained instances span a plane with instance {instance}.", "Choose three instances by hand.")


Answers = Callable[[str, np.ndarray], np.ndarray]  # (who, inputs or shares) -> logits


def on_grid(
    subject: Subject, key: tuple, points: np.ndarray, shape: tuple[int, ...], answers: Answers | None = None
) -> dict[str, np.ndarray]:
    """Every model on the same new inputs: <who> labels uint8, <who>_p top and <who>_gap top minus second probability.

    answers: what the models say of `points`; `subject.predict` if left out.
    Arrays of `shape`, probabilities float16; "retrained…" have the models in front, [k, *shape].
    """
    answers = answers or subject.predict

    def read(who: str) -> dict[str, np.ndarray]:
        p = np.exp(log_softmax(answers(who, points)))
        second, top = np.partition(p, -2, axis=1)[:, -2:].T
        found = {"": p.argmax(axis=1).astype(np.uint8), "_p": top.astype(np.float16), "_gap": (top - second).astype(np.float16)}
        return {name: values.reshape(shape) for name, values in found.items()}

    models = {who: subject.once((*key, who), lambda who=who: read(who)) for who in subject.names()}
    retrained = [models.pop(who) for who in list(models) if who.startswith("retrained:")]
    view = {who + name: values for who, found in models.items() for name, values in found.items()}
    dtypes = {"": np.uint8, "_p": np.float16, "_gap": np.float16}
    return view | {f"retrained{name}": np.array([r[name] for r in retrained], dtype).reshape(-1, *shape) for name, dtype in dtypes.items()}


def check_blends(subject: Subject) -> None:
    """Raises BadInput where there is nothing between two inputs, or no class to show there."""
    if subject.task != "classes":
        raise BadInput(
            "triplet", f"a slice shows where which class is answered, and here {ANSWERS[subject.task]}.", "Read the other measures."
        )
    if not subject.blends and subject.embed is None:
        raise BadInput(
            "triplet",
            "this model reads words or categories in a way of its own, so there is nothing between two of them.",
            "Read the other measures.",
        )


def vectors(subject: Subject, ids: np.ndarray) -> np.ndarray:
    """Instances as points of the space that slices run through: inputs, or what the original's embedding makes of words and categories."""
    return in_units(subject.inputs[ids]) if subject.blends else subject.embed(ids)


def between(subject: Subject, triplet: np.ndarray) -> Answers:
    """What the models say of inputs, or of the three instances mixed in given shares [M, 3]."""
    return subject.predict if subject.blends else lambda who, weights: subject.blend(who, triplet, weights)


def slice_views(subject: Subject, triplet: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The views "plane" (not for 2-D points, whose whole plane is shown) and "segment" through three instances.

    Raises BadInput if they are not three different instances or lie on one line.
    """
    check_blends(subject)
    triplet = np.asarray(triplet, dtype=np.int64)
    if len(set(triplet.tolist())) != 3 or triplet.shape != (3,) or triplet.min() < 0 or triplet.max() >= len(subject.labels):
        raise BadInput("triplet", f"{triplet.tolist()} are not three different instances.", "Give three ids of the dataset.")
    views = {"segment": segment_view(subject, triplet)}
    return views if subject.modality == "points" else {"plane": plane_view(subject, triplet)} | views


def plane_view(subject: Subject, triplet: np.ndarray) -> dict[str, np.ndarray]:
    """Classes of all models on the plane (see on_grid, [G, G], rows along b), with a, b, corners, corner_* and fade.

    fade: [G, G] float32, 1 at a sample and falling with the distance to the nearest one: blends of
    inputs are no real inputs. mixed (only there if so): the places are mixes of words or categories.
    """
    grid = int(subject.settings.get("plane_grid", GRID))
    found = plane(*vectors(subject, triplet), grid=grid)
    places = found.points if subject.blends else found.weights
    view = on_grid(subject, ("plane", grid, *triplet.tolist()), places, (grid, grid), between(subject, triplet))
    distance = np.linalg.norm(found.at.reshape(grid, grid, 1, 2) - found.corners, axis=-1).min(axis=-1)
    side = np.mean([np.linalg.norm(found.corners[i] - found.corners[i - 1]) for i in range(3)])
    fade = np.exp(-0.5 * np.square(distance / (0.5 * side))).astype(np.float32)
    names = {"corner_ids": triplet, "corner_labels": subject.labels[triplet], "corners": found.corners}
    return {"a": found.a, "b": found.b, "fade": fade} | names | view | mixed(subject)


def mixed(subject: Subject) -> dict[str, np.ndarray]:
    """What a view says of itself where its places are mixes of words or categories."""
    return {} if subject.blends else {"mixed": np.array(True)}


def segment_view(subject: Subject, triplet: np.ndarray) -> dict[str, np.ndarray]:
    """Probability of the first instance's given label along the straight paths to the other two.

    t: [2·STEPS + 1], −1 at the second instance, 0 at the first, 1 at the third. original, unlearned:
    probabilities at t; retrained: [k, len(t)]. ids, labels: [3]. label: [1]. mixed: as in plane_view.
    """
    label = int(subject.labels[triplet[0]])
    t = np.linspace(-1, 1, 2 * STEPS + 1)
    if subject.blends:
        x1, x2, x3 = in_units(subject.inputs[triplet]).astype(np.float64)
        share = np.abs(t).reshape(-1, *[1] * x1.ndim)
        places = np.where(t.reshape(share.shape) < 0, x1 + share * (x2 - x1), x1 + share * (x3 - x1)).astype(np.float32)
    else:
        places = np.column_stack([1 - np.abs(t), np.maximum(-t, 0), np.maximum(t, 0)])
    key, answers = ("segment", *triplet.tolist()), between(subject, triplet)
    read = lambda who: np.exp(log_softmax(answers(who, places))[:, label])  # noqa: E731
    curves = stacked(subject, lambda who: subject.once((*key, who), lambda: read(who)))
    return {"t": t, "ids": triplet, "label": np.array([label]), "labels": subject.labels[triplet]} | curves | mixed(subject)


def plane_agreement(subject: Subject, view: dict[str, np.ndarray]) -> Measure:
    """Share of the plane's cells where a model and the retrained models give the same class."""
    grids = {who: view[who] for who in ("original", "unlearned") if who in view}
    grids |= {f"retrained:{k}": grid for k, grid in enumerate(view["retrained"])}
    pair = lambda a, b: float((grids[a] == grids[b]).mean())  # noqa: E731
    n = view["fade"].size
    return to_retrained(subject, "boundary.plane_agreement", "plane", pair, n=n, resolution=1 / n)
