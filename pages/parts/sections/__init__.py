"""The evidence of one run, section by section. Numbers come from the run, drawings from figures."""

from pages.parts.sections import boundary, collateral, files, instances, privacy, relearning, requests, shadows, structure, utility
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
    "Files": files.draw,
}


def shown(run: Run) -> list[str]:
    """The sections that have something to say of this run: what changed over several requests needs several."""
    return [name for name in SECTIONS if name != "Requests" or run.spec.parent]
