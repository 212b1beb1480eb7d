"""Arrays in MATLAB files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from unlearn_core.errors import BadInput


def read_mat(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The numeric arrays `names` of a MATLAB file of version 4 to 7.2, which holds plain data only. Raises BadInput for anything else."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(path, variable_names=names)
    except (MatReadError, NotImplementedError, ValueError, TypeError, OSError, KeyError, IndexError, zlib.error):
        found = {}
    arrays = {name: found[name] for name in names if isinstance(found.get(name), np.ndarray) and found[name].dtype.kind in "iuf"}
    if len(arrays) < len(names):
        raise BadInput("file", f"{path.name} is no MATLAB file with {' and '.join(names)}.", "Download it again.")
    return arrays
