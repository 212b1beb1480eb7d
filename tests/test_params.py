"""Declared parameters: what is accepted, what is refused and what the refusal says."""

import math

import pytest

from unlearn_core import data, methods, models
from unlearn_core.errors import BadInput
from unlearn_core.params import TRIALS, Param, resolve

SHARE = Param("share", "float", 0.5, "", 0.0, 1.0)
FREE = Param("free", "float", 0.0, "")
COUNT = Param("count", "int", 3, "", 1, 100)
LEAST = Param("least", "int", 3, "", 1)
RULED = Param("ruled", "float", "auto", "", 0.0, 1.0, auto="as much as needed")
SWITCH = Param("switch", "bool", False, "")
WORD = Param("word", "choice", "a", "", choices=("a", "b"))


@pytest.mark.parametrize(
    ("param", "given", "parsed"),
    [
        (SHARE, "0.25", 0.25), (SHARE, 1, 1.0), (SHARE, 0.0, 0.0), (SHARE, " 1e-1 ", 0.1),
        (COUNT, 7, 7), (COUNT, 7.0, 7), (COUNT, "7", 7), (COUNT, "1e1", 10), (COUNT, 100, 100),
        (RULED, "auto", "auto"), (RULED, "0.2", 0.2), (FREE, -1e300, -1e300),
        (SWITCH, True, True), (SWITCH, "FALSE", False), (SWITCH, 1, True), (SWITCH, "0", False),
        (WORD, "b", "b"),
    ],
)  # fmt: skip
def test_accepted(param, given, parsed):
    found = param.parse(given)
    assert found == parsed and type(found) is type(parsed)


BAD_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    "nan",
    "inf",
    "-Infinity",
    "1e999",
    10**400,
    None,
    True,
    False,
    "",
    "x",
    "1,5",
    [1],
    {},
    b"1\xff",
]


@pytest.mark.parametrize("param", [SHARE, FREE, COUNT, LEAST, RULED])
@pytest.mark.parametrize("given", BAD_NUMBERS, ids=lambda given: repr(given)[:12])
def test_refused_numbers(param, given):
    with pytest.raises(BadInput) as caught:
        param.parse(given)
    assert caught.value.field == param.name and "number" in caught.value.fix


@pytest.mark.parametrize(
    ("param", "given", "fix"),
    [
        (SHARE, 1.0000001, "a number from 0 to 1"),
        (SHARE, -1e-12, "a number from 0 to 1"),
        (COUNT, 0, "a whole number from 1 to 100"),
        (COUNT, 101, "a whole number from 1 to 100"),
        (COUNT, 3.5, "a whole number from 1 to 100"),
        (LEAST, 0, "a whole number of at least 1"),
        (SHARE, "auto", "Give a number from 0 to 1."),
        (RULED, "AUTO", 'or "auto"'),
        (SWITCH, "maybe", "true or false"),
        (SWITCH, 2, "true or false"),
        (SWITCH, None, "true or false"),
        (WORD, "c", "one of a, b"),
        (WORD, "A", "one of a, b"),
        (WORD, ["a"], "one of a, b"),
    ],
)
def test_refused_with_what_would_be_accepted(param, given, fix):
    with pytest.raises(BadInput) as caught:
        param.parse(given)
    assert fix in caught.value.fix and caught.value.field == param.name


def test_resolve_fills_in_defaults_and_refuses_strangers():
    assert resolve((SHARE, COUNT), {"count": "5"}, "thing") == {"share": 0.5, "count": 5}
    with pytest.raises(BadInput, match="thing has no such parameter. Known parameters: share, count"):
        resolve((SHARE, COUNT), {"shape": 1}, "thing")
    with pytest.raises(BadInput, match="Known parameters: none"):
        resolve((), {"x": 1}, "thing")


STRENGTH = Param("alpha", "float", 0.95, "", 0.5, 1.0)


@pytest.mark.parametrize(
    ("param", "trials"),
    [
        (STRENGTH, (0.9, 0.916667, 0.933333, 0.95, 0.966667, 0.983333, 1.0)),
        (Param("alpha", "float", "auto", "", 0.0, 0.95, auto="a rule", manual=0.5), (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)),
        (Param("alpha", "float", "search", "", 0.0, 10.0, manual=1.0), (0.0, 0.333333, 0.666667, 1.0, 1.333333, 1.666667, 2.0)),
        (Param("alpha", "float", 0.0, "", 0.0, 6.0), (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
        (Param("alpha", "float", 0.0, "", 0.0), ()),
        (Param("alpha", "choice", "a", "", choices=("a",)), ()),
        (SHARE, ()),
    ],
)
def test_a_search_tries_values_around_the_usual_one(param, trials):
    assert param.trials == pytest.approx(trials)


def test_only_a_strength_can_be_searched_for():
    assert STRENGTH.parse("search") == "search" and STRENGTH.parse("0.7") == 0.7
    with pytest.raises(BadInput, match='Give a number from 0.5 to 1 or "search".'):
        STRENGTH.parse("auto")
    for param in (SHARE, COUNT, RULED):
        with pytest.raises(BadInput) as caught:
            param.parse("search")
        assert "search" not in caught.value.fix


def test_every_method_with_a_strength_gets_the_same_number_of_trials():
    found = {method.name: param for method in methods.registry().values() for param in method.params if param.name == "alpha"}
    assert found.keys() == {method.name for method in methods.registry().values() if method.alpha} and len(found) > 4
    for param in found.values():
        assert len(param.trials) == TRIALS and list(param.trials) == sorted(set(param.trials)) and param.usual in param.trials
        assert all(param.parse(value) == value for value in param.trials)


def test_every_declared_default_is_acceptable():
    declared = [*data.registry().values(), *models.registry().values(), *methods.registry().values()]
    assert len(declared) > 10
    for item in declared:
        names = [param.name for param in item.params]
        assert len(set(names)) == len(names)
        for param in item.params:
            assert param.parse(param.default) == param.default
            assert param.help and param.label
