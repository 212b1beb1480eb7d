"""What changed: utility, boundary, structure, privacy. One file each, declared without torch."""

from __future__ import annotations

import importlib

from unlearn_core.evidence.base import Definition, Evidence, Findings, Subject
from unlearn_core.registry import discover


def registry() -> dict[str, Evidence]:
    """All evidence declarations by name, in the order of display."""
    return discover(__name__, "EVIDENCE")


def definition(family: str) -> Definition:
    """The definition of a family of measures such as "utility.accuracy"; KeyError if there is none."""
    declared = {d.id: d for d in registry()[family.split(".")[0]].definitions}
    return declared[family]


def compute(name: str, subject: Subject) -> Findings:
    """Run one evidence module on the models that exist so far."""
    return importlib.import_module(f"{__name__}.{name}").compute(subject)
