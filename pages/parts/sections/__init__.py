"""The evidence of one run, section by section. Numbers come from the run, drawings from figures."""

from pages.parts import deciding
from pages.parts.sections import (
    boundary,
    collateral,
    files,
    groups,
    instances,
    plainly,
    planted,
    privacy,
    relearning,
    requests,
    shadows,
    structure,
    utility,
)
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

SECTIONS = {
    "Utility": utility.draw,
    "Boundary": boundary.draw,
    "Structure": structure.draw,
    "Privacy": privacy.draw,
    "Instances": instances.draw,
    "Shadows": shadows.draw,
    "Collateral": collateral.draw,
    "Relearning": relearning.draw,
    "Requests": requests.draw,
    "Planted": planted.draw,
    "Groups": groups.draw,
    "Files": files.draw,
}


KNOWN_ONLY = ("Planted", "Groups")  # need data with something planted, or with protected attributes


def draw(section: str, run: Run, found: Original) -> None:
    """One section; where there are no classes, plainly unless its own drawings need none."""
    plainly.note(found)
    if found.task == "classes" or section in plainly.DRAWN[found.task]:
        SECTIONS[section](run, found)
    else:
        plainly.draw(run, found, section)
        if section == "Instances":
            deciding.before_and_after(run, found)


def shown(run: Run) -> list[str]:
    """The sections that have something to say of this run: what changed over several requests needs several."""
    there = {"Requests": bool(run.spec.parent)}
    there |= {name: any(m.family.startswith(f"{name.lower()}.") for m in run.measures) for name in KNOWN_ONLY}
    return [name for name in SECTIONS if there.get(name, True)]
