"""Declared parameters: one description serves the form, the command line, the checks and the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_core.errors import BadInput

AUTO = "auto"


@dataclass(frozen=True)
class Param:
    """One parameter of a dataset, model or method.

    `kind` is "float", "int", "bool" or "choice". `low` and `high` are inclusive bounds of numbers.
    `auto` is the plain-words rule that applies when the value is "auto"; without it, "auto" is refused.
    `manual` is a sensible value to start from when a person sets an automatic parameter by hand.
    `default` is the value used when nothing is given and may be "auto".
    """

    name: str
    kind: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    auto: str | None = None
    manual: Any = None
    title: str = ""
    advanced: bool = False

    @property
    def label(self) -> str:
        return self.title or self.name.replace("_", " ").capitalize()

    def parse(self, value: Any) -> Any:
        """Return `value` as the declared kind. Raises BadInput naming the parameter and the accepted range."""
        if value == AUTO and self.auto:
            return AUTO
        try:
            parsed = self._convert(value)
        except (TypeError, ValueError, OverflowError):
            raise BadInput(self.name, f"{value!r} is not {self._expected()}.", f"Give {self._expected()}.") from None
        if self.kind in ("float", "int") and not self._inside(parsed):
            raise BadInput(self.name, f"{parsed} is out of range.", f"Give {self._expected()}.")
        return parsed

    def _convert(self, value: Any) -> Any:
        if self.kind == "choice":
            if value not in self.choices:
                raise ValueError
            return value
        if self.kind == "bool":
            words = {"true": True, "false": False, "1": True, "0": False}
            if isinstance(value, bool):
                return value
            if str(value).lower() not in words:
                raise ValueError
            return words[str(value).lower()]
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        if self.kind == "int":
            if number != int(number):
                raise ValueError
            return int(number)
        return number

    def _inside(self, number: float) -> bool:
        above = self.low is None or number >= self.low
        below = self.high is None or number <= self.high
        return above and below

    def _expected(self) -> str:
        if self.kind == "choice":
            words = "one of " + ", ".join(self.choices)
        elif self.kind == "bool":
            words = "true or false"
        else:
            words = "a whole number" if self.kind == "int" else "a number"
            if self.low is not None and self.high is not None:
                words += f" from {self.low:g} to {self.high:g}"
            elif self.low is not None:
                words += f" of at least {self.low:g}"
        return words + (' or "auto"' if self.auto else "")


def resolve(declared: Iterable[Param], given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return every declared parameter with its parsed value, defaults filled in.

    Raises BadInput for an unknown name or a value outside the declaration. `owner` names whose
    parameters these are in that message.
    """
    declared = tuple(declared)
    unknown = set(given) - {param.name for param in declared}
    if unknown:
        known = ", ".join(param.name for param in declared) or "none"
        raise BadInput(sorted(unknown)[0], f"{owner} has no such parameter.", f"Known parameters: {known}.")
    return {param.name: param.parse(given.get(param.name, param.default)) for param in declared}
