"""Declared parameters: one description serves the form, the command line, the checks and the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_core.errors import BadInput

AUTO = "auto"
SEARCH = "search"
STRENGTH = "alpha"  # the one parameter of a method whose value may be searched for
TRIALS = 7


@dataclass(frozen=True)
class Param:
    """One parameter of a dataset, model or method.

    `kind` is "float", "int", "bool" or "choice". `low` and `high` are inclusive bounds of numbers.
    `auto` is the plain-words rule that applies when the value is "auto"; without it, "auto" is refused.
    `manual` is a sensible value to start from when a person sets an automatic parameter by hand.
    `default` is the value used when nothing is given and may be "auto".
    `later` marks a parameter that joined after keys were given out: at its default it stays out of what is kept, so that they still hold.
    A method's strength `alpha` with two bounds may also be "search": the best of its `trials` is then found by trying them.
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
    later: bool = False

    @property
    def label(self) -> str:
        return self.title or self.name.replace("_", " ").capitalize()

    @property
    def usual(self) -> Any:
        """A value to start from by hand: the default or `manual`, else the lower bound or 0."""
        usual = (value for value in (self.default, self.manual, self.low, 0) if value is not None and value not in (AUTO, SEARCH))
        return next(usual)

    @property
    def trials(self) -> tuple[float, ...]:
        """The values that "search" tries, rising; () for a parameter that cannot be searched.

        TRIALS of them for every method, in equal steps over the widest stretch around the usual value that stays in the range, so that
        the usual value is the middle one; over the whole range if the usual value is one of its ends.
        """
        if self.name != STRENGTH or self.kind != "float" or self.low is None or self.high is None:
            return ()
        reach = min(self.usual - self.low, self.high - self.usual)
        first, last = (self.usual - reach, self.usual + reach) if reach > 0 else (self.low, self.high)
        steps = (first + (last - first) * k / (TRIALS - 1) for k in range(TRIALS))
        return tuple(min(max(round(value, 6), self.low), self.high) for value in steps)

    def parse(self, value: Any) -> Any:
        """Return `value` as the declared kind. Raises BadInput naming the parameter and the accepted range."""
        if value == AUTO and self.auto:
            return AUTO
        if value == SEARCH and self.trials:
            return SEARCH
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
        special = [f'"{word}"' for word, known in ((AUTO, self.auto), (SEARCH, self.trials)) if known]
        return " or ".join([words, *special])


def resolve(declared: Iterable[Param], given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return every declared parameter with its parsed value, defaults filled in; of those that came `later` only what is not the default.

    Raises BadInput for an unknown name or a value outside the declaration. `owner` names whose
    parameters these are in that message.
    """
    declared = tuple(declared)
    unknown = set(given) - {param.name for param in declared}
    if unknown:
        known = ", ".join(param.name for param in declared) or "none"
        raise BadInput(sorted(unknown)[0], f"{owner} has no such parameter.", f"Known parameters: {known}.")
    parsed = {param.name: param.parse(given.get(param.name, param.default)) for param in declared}
    return {param.name: parsed[param.name] for param in declared if not (param.later and parsed[param.name] == param.default)}
