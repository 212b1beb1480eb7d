"""What changed: utility, boundary, structure, privacy. One file each, declared without torch."""

from __future__ import annotations

import importlib
from dataclasses import replace

from unlearn_core.data.base import ANSWERS
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, missing
from unlearn_core.registry import discover

EVERYTHING = "all"  # the group of measures that say of a task why they have no meaning for it


def registry() -> dict[str, Evidence]:
    """All evidence declarations by name, in the order of display."""
    return discover(__name__, "EVIDENCE")


def definition(family: str) -> Definition:
    """The definition of a family of measures such as "utility.accuracy"; KeyError if there is none."""
    declared = {d.id: d for d in registry()[family.split(".")[0]].definitions}
    return declared[family]


def bounds(measure: Measure) -> tuple[float, float] | None:
    """The retrained interval, cut to the values that the measure can take; None without one."""
    if measure.retrained is None or measure.retrained.low is None:
        return None
    low, high = definition(measure.family).range
    return max(measure.retrained.low, low), min(measure.retrained.high, high)


def compute(name: str, subject: Subject) -> Findings:
    """Run one evidence module on the models that exist so far. What needs a class says so where there is none."""
    module = importlib.import_module(f"{__name__}.{name}")
    declared, subject = module.EVIDENCE, replace(subject, retrained=subject.retrained[: module.EVIDENCE.most])
    if subject.task == "classes":
        return module.compute(subject)
    there = [definition for definition in declared.definitions if subject.task in definition.tasks]
    found = module.compute(subject) if there else Findings()
    lacking = [d for d in declared.definitions if d not in there and "classes" in d.tasks] if declared.applies(subject) else []
    return Findings(
        [*found.measures, *(missing(d.id, EVERYTHING, f"needs {d.needs}, and here {ANSWERS[subject.task]}") for d in lacking)],
        found.views,
    )
