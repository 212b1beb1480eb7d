"""Finding declarations: a new dataset, model, method or measure is one new file, nothing else changes."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import warnings
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from unlearn_core.errors import BadInput


@cache
def discover(package: str, attribute: str) -> dict[str, Any]:
    """Every `attribute` that a module of `package` declares (one declaration or a tuple), by name.

    Sorted by the declaration's `order`, then its name. Modules without the attribute are no plug-ins.
    """
    found = []
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        loaded = importlib.import_module(f"{package}.{module.name}") if _declares(package, module.name, attribute) else None
        declared = getattr(loaded, attribute, ())
        found.extend(declared if isinstance(declared, tuple) else (declared,))
    return {item.name: item for item in sorted(found, key=lambda item: (item.order, item.name))}


@cache
def plugged(group: str) -> dict[str, Any]:
    """Declarations of installed packages that name them as entry points of `group`, by name.

    An entry point is a declaration or a tuple of them. One that cannot be loaded, or whose name another has, is left out, with a warning that says why.
    """
    found = {}
    for point in entry_points(group=group):
        try:
            declared = point.load()
        except Exception as error:  # anything may go wrong in another's package, and must not take the others away
            warnings.warn(f"The plug-in {point.value} ({group}) cannot be loaded: {type(error).__name__}: {error}", stacklevel=2)
            continue
        for item in declared if isinstance(declared, tuple) else (declared,):
            name = getattr(item, "name", point.name)
            if name in found:
                warnings.warn(f"The plug-in {point.value} ({group}) is left out: another is called {name}, too.", stacklevel=2)
            found.setdefault(name, item)
    return found


def extended(own: dict[str, Any], group: str, kind: type) -> dict[str, Any]:
    """`own` declarations, then those of installed plug-ins.

    A plug-in that is no `kind`, or whose name is taken, is left out, with a warning that says so.
    """
    added = {}
    for name, item in plugged(group).items():
        if not isinstance(item, kind):
            warnings.warn(f"The plug-in {name} ({group}) declares no {kind.__name__} and is left out.", stacklevel=3)
        elif name in own:
            warnings.warn(f"The plug-in {name} ({group}) is left out: there is a {name} already. Give it another name.", stacklevel=3)
        else:
            added[name] = item
    return own | added


def _declares(package: str, module: str, attribute: str) -> bool:
    # Read before importing: helper modules of the package may need torch, declarations never do.
    spec = importlib.util.find_spec(f"{package}.{module}")
    with open(spec.origin, encoding="utf-8") as source:
        return any(line.startswith((f"{attribute} ", f"{attribute}:")) for line in source)


def lookup(found: dict[str, Any], name: str, field: str) -> Any:
    """`found[name]`. Raises BadInput that lists the known names."""
    if name not in found:
        raise BadInput(field, f"there is no {field} called {name!r}.", f"Choose one of: {', '.join(found)}.")
    return found[name]
