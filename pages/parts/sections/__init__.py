"""The evidence of one run, section by section. Numbers come from the run, drawings from figures."""

from pages.parts.sections import boundary, collateral, files, instances, privacy, relearning, shadows, structure, utility

SECTIONS = {
    "Utility": utility.draw,
    "Boundary": boundary.draw,
    "Structure": structure.draw,
    "Privacy": privacy.draw,
    "Instances": instances.draw,
    "Shadows": shadows.draw,
    "Collateral": collateral.draw,
    "Relearning": relearning.draw,
    "Files": files.draw,
}
