"""What the map shows of instances that have no single class: several labels, or a number."""

from __future__ import annotations

import numpy as np

from unlearn_core.figures.palette import BLUE, GREY, SEQUENTIAL, VERMILLION
from unlearn_core.runs.originals import Original

STRATA = {"classes": "Class", "labels": "Group", "number": "Range"}  # what an instance's `label` is
ALL_RIGHT, LABEL = "all labels right or not", "label "


def colours(found: Original) -> list[str]:
    """What the map can be coloured by, instead of classes and what hangs on them."""
    if found.task == "labels":
        return ["group", *(LABEL + name for name in found.meta["target_names"]), ALL_RIGHT, "loss", "selected"]
    name = found.meta["number"]["name"]
    return [name, f"answered {name}", "range", "loss", "selected"]


def colouring(found: Original, colour: str) -> dict | None:
    """Colours of `mapping` for one of these, None for those that all tasks share."""
    a = found.arrays
    if colour == ALL_RIGHT:
        right = found.right.astype(np.int16)
        return {"category": right, "names": ("some wrong", "all right"), "colours": (VERMILLION, BLUE), "shapes": (3, 0)}
    if found.task == "labels" and colour.startswith(LABEL):
        name = colour.removeprefix(LABEL)
        has = a["target"][:, found.meta["target_names"].index(name)].astype(np.int16)
        return {"category": has, "names": (f"not {name}", name), "colours": (GREY, BLUE), "shapes": (0, 3)}
    if found.task == "number" and colour in colours(found)[:2]:
        name, unit = found.meta["number"]["name"], found.meta["number"]["unit"]
        value = a["target" if colour == name else "answer"][:, 0]
        return {"value": value.astype(np.float32), "colours": tuple(SEQUENTIAL[1:]), "title": f"{colour.capitalize()} ({unit})"}
    return None
