"""The evidence of one run, section by section. Numbers come from the run, drawings from figures."""

from pages.parts.sections import boundary, files, instances, privacy, shadows, structure, utility

SECTIONS = {
    "Utility": utility.draw,
    "Boundary": boundary.draw,
    "Structure": structure.draw,
    "Privacy": privacy.draw,
    "Instances": instances.draw,
    "Shadows": shadows.draw,
    "Files": files.draw,
}
