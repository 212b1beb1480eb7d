"""Groups: whether a model treats people of different sex, race or another protected attribute alike, before and after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unlearn_core.evidence.across import stacked
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, missing, per_model
from unlearn_core.evidence.logits import predictions

LEAST = 30  # test instances that a group needs to be compared: fewer move its rate by more than three points each
POSITIVE = 1  # of two classes

EVIDENCE = Evidence(
    name="groups",
    title="Groups",
    version=1,
    order=85,
    applies=lambda subject: bool(subject.groups),
    definitions=(
        Definition(
            "groups.parity",
            "Gap in positive answers",
            "Difference between the groups with the highest and the lowest share of test instances that the model gives the second class "
            "(demographic parity difference). 0 means that all groups get it equally often, whether or not they have it equally often.",
            "share",
            source="Calders and Verwer, Three naive Bayes approaches for discrimination-free classification, 2010 (discrimination score)",
        ),
        Definition(
            "groups.opportunity",
            "Gap in opportunity",
            "Difference between the groups with the highest and the lowest share of test instances of the second class that the model "
            "recognises as such (equal opportunity difference). 0 means that those who have it are recognised equally often in all groups.",
            "share",
            source="Hardt, Price and Srebro, Equality of opportunity in supervised learning, arXiv:1610.02413, definition 2.2",
        ),
        Definition(
            "groups.accuracy",
            "Gap in accuracy",
            "Difference between the groups with the highest and the lowest accuracy on test instances.",
            "share",
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """Three gaps for each protected attribute, and a view "groups_<attribute>" of the rates behind them; nothing where there is none."""
    measures, views = [], {}
    test, labels = subject.splits.test, subject.labels
    answered = lambda who, ids: predictions(subject, who)[ids] == POSITIVE  # noqa: E731
    asked = {
        "parity": (test, answered),
        "opportunity": (test[labels[test] == POSITIVE], answered),
        "accuracy": (test, lambda who, ids: predictions(subject, who)[ids] == labels[ids]),
    }
    for attribute, group in subject.groups.items():
        view: dict[str, np.ndarray] = {"names": np.array(group.names)}
        for what, (among, right) in asked.items():
            if what != "accuracy" and len(subject.class_names) != 2:
                measures.append(missing(f"groups.{what}", attribute, "positive answers need a task with two classes"))
                continue
            members = {name: among[group.codes[among] == code] for code, name in enumerate(group.names)}
            measures.append(gap(subject, f"groups.{what}", attribute, members, right))
            found = stacked(subject, lambda who, m=members, r=right: _rates(who, m, r))
            view |= {f"{what}_{who}": array for who, array in found.items()} | {
                f"{what}_n": np.array([len(ids) for ids in members.values()])
            }
        views[f"groups_{attribute}"] = view
    return Findings(measures, views)


def gap(
    subject: Subject, id: str, attribute: str, members: dict[str, np.ndarray], right: Callable[[str, np.ndarray], np.ndarray]
) -> Measure:
    """Highest minus lowest share of `right(who, ids)` over the groups with at least LEAST ids. members: test ids by group's name."""
    compared = {name: ids for name, ids in members.items() if len(ids) >= LEAST}
    n = sum(map(len, compared.values()))
    if len(compared) < 2:
        return missing(id, attribute, f"fewer than two groups have {LEAST} such test instances", n)
    small = [name for name, ids in members.items() if 0 < len(ids) < LEAST]
    rest = {"reason": f"left out, with fewer than {LEAST} such test instances: {', '.join(small)}"} if small else {}
    step = 1 / min(map(len, compared.values()))
    value = lambda who: float(np.ptp(_rates(who, compared, right)))  # noqa: E731
    return per_model(subject, id, attribute, value, n=n, resolution=step, reliability="estimate", **rest)


def _rates(who: str, members: dict[str, np.ndarray], right: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
    """The share of each group, [groups]; NaN for an empty one."""
    return np.array([right(who, ids).mean() if len(ids) else np.nan for ids in members.values()])
