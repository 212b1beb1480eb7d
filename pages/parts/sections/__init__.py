"""The evidence of one run, section by section. Numbers come from the run, drawings from figures."""

from pages.parts.sections import (
    boundary,
    collateral,
    files,
    groups,
    instances,
    planted,
    privacy,
    relearning,
    requests,
    shadows,
    structure,
    utility,
)
from unlearn_core.runs.api import Run

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


def shown(run: Run) -> list[str]:
    """The sections that have something to say of this run: what changed over several requests needs several."""
    there = {"Requests": bool(run.spec.parent)}
    there |= {name: any(m.family.startswith(f"{name.lower()}.") for m in run.measures) for name in KNOWN_ONLY}
    return [name for name in SECTIONS if there.get(name, True)]
