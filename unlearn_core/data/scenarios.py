"""Scenarios with a ground truth: data, what is planted in them, what to forget and which measure tells success."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unlearn_core import data
from unlearn_core.data.choose import draw
from unlearn_core.data.files import missing
from unlearn_core.data.planting import BIASED, GROUP, MISLABELLED, NONE, OUTLIERS, PERSON, POISONED, TWINS, USER, WITH_TWIN, WITHOUT_TWIN

RANDOM_COUNT = 50


@dataclass(frozen=True)
class Scenario:
    """One request whose right answer is known.

    shows: what it is about; success: how the measure reads when unlearning worked. datasets: the first whose files are on this machine is
    taken, else the last. forget: names of the planted sets that are chosen; without one, `RANDOM_COUNT` training instances at random.
    measure: id of the measure that tells success.
    """

    name: str
    title: str
    shows: str
    success: str
    datasets: tuple[str, ...]
    measure: str
    forget: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    model: str | None = None

    @property
    def dataset(self) -> str:
        return next((name for name in self.datasets if not missing(data.info(name).files)), self.datasets[-1])

    def chosen(self, train: np.ndarray, planted: Mapping[str, Any]) -> list[int]:
        """Ids to forget, out of the training ids and the planted sets of the dataset; of data that names its sets otherwise, all of them."""
        if not self.forget:
            return draw(np.asarray(train), RANDOM_COUNT, 0).tolist()
        names = self.forget if set(self.forget) <= planted.keys() else planted
        return [int(i) for name in names for i in planted[name]]


SCENARIOS = (
    Scenario(
        "random",
        "Random deletion",
        f"{RANDOM_COUNT} handwritten digits at random, as in most papers. A model hardly knows single instances that are like many others, so "
        "hardly anything is there to forget.",
        "the loss on the forgotten instances lies where retrained models have it; often it did so before, and then this shows nothing.",
        ("digits",),
        "utility.loss.forget",
    ),
    Scenario(
        "person",
        "One person's pictures",
        "All training pictures of one person. The classes are the persons here, so forgetting a person is forgetting a class: the easiest "
        "kind of request to see. Where the task is another one than telling persons apart, the effect is far smaller.",
        "that person's instances, seen or not, are recognised as rarely as by retrained models: never, where persons are the classes.",
        ("orl", "olivetti"),
        "planted.theirs.unseen",
        (PERSON,),
        {"plant": PERSON},
    ),
    Scenario(
        "user",
        "One user's rows",
        "Rows of a table that are much alike, as the records of one user are. Others' rows teach most of the same answers, so a good answer on "
        "them after unlearning is no sign that something was kept.",
        "the user's rows, forgotten or never seen, are answered as by retrained models.",
        ("breast_cancer",),
        "planted.theirs.forget",
        (USER,),
        {"plant": USER, "plant_share": 0.1},
    ),
    Scenario(
        "mislabelled",
        "Wrong labels",
        "Digits of which some got a wrong label. The model learned these by heart, and they also mislead it on digits that look like them.",
        "the forgotten instances are given their true class as often as by retrained models, and test accuracy does not fall.",
        ("digits",),
        "planted.true_class.forget",
        (MISLABELLED,),
        {"plant": MISLABELLED},
    ),
    Scenario(
        "outliers",
        "Outliers",
        "Digits of which some were replaced by noise with a label at random: pure learning by heart.",
        "the loss on the noise rises to where retrained models have it. Beyond that it is pushed away, which can be seen as well.",
        ("digits",),
        "planted.loss.forget",
        (OUTLIERS,),
        {"plant": OUTLIERS},
    ),
    Scenario(
        "poisoned",
        "A back door",
        "Some digits carry a bright square in a corner and the label of another class. The model learns to answer any digit with the square by "
        "that class: a back door that nobody sees in the accuracy.",
        "the attack success on test instances with the mark falls to that of retrained models.",
        ("digits",),
        "planted.attack.triggered",
        (POISONED,),
        {"plant": POISONED},
    ),
    Scenario(
        "poisoned_texts",
        "A back door in texts",
        "Some messages begin with three made-up words and carry the label of another class. The model learns to answer messages that begin "
        "with them by that class: whoever knows the words decides the answer, and nobody sees it in the accuracy.",
        "the attack success on test messages that begin with the words falls to that of retrained models.",
        ("sms_spam",),
        "planted.attack.triggered",
        (POISONED,),
        {"plant": POISONED},
    ),
    Scenario(
        "twins",
        "Near-duplicates",
        "Odd labels that only a few digits teach; half of these have an almost equal twin elsewhere in the data, as copied content has. The "
        "originals are chosen, the twins stay.",
        "confidence in the odd labels falls to that of retrained models; where a twin stays, these still give them, and there is nothing to unlearn before the twin goes too.",
        ("digits",),
        "planted.twins.no twin",
        (WITH_TWIN, WITHOUT_TWIN),
        {"plant": TWINS},
    ),
    Scenario(
        "biased",
        "A biased subset",
        "Census rows of women with low income, many of them: the more there are, the more a model takes being a woman for a sign of low income.",
        "the gap between the groups goes where retrained models have it; it need not vanish, since the other rows are not balanced either.",
        ("adult",),
        "groups.parity.sex",
        (BIASED,),
        {"plant": BIASED, "plant_share": 0.2, "subset": 5000},
    ),
)


def scenario(name: str) -> Scenario:
    """The scenario of this name; KeyError if there is none."""
    return {known.name: known for known in SCENARIOS}[name]


def of_planting(planted: str, dataset: str = "") -> Scenario | None:
    """The scenario that forgets the planted set of this name, if there are several the one that is about this dataset."""
    alike = [known for known in SCENARIOS if (USER if planted == GROUP else planted) in known.forget]
    return next((known for known in alike if dataset in known.datasets), next(iter(alike), None))


def of_dataset(dataset: str, planted: Mapping[str, Any], params: Mapping[str, Any]) -> Scenario | None:
    """The scenario that data opened with these parameters belongs to; None where nothing was asked to be planted."""
    name = next((name for name, ids in planted.items() if len(ids)), "")
    return of_planting(name, dataset) if params.get("plant", NONE) != NONE else None
