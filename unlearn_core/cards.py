"""A card for each method, made from its declaration: what it does, at what price, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable

from unlearn_core import models
from unlearn_core.methods import Method

GOALS = {
    "undo": "undo: be like a model that never saw the points",
    "misclassify": "misclassify: get the points wrong, which is not what retraining gives",
}
NEEDS = {
    "retain": "the retain set",
    "heldout": "held-out instances",
    "train": "training from scratch",
    "never_seen": "a pool of shadow models",
}
# What these mean in every equation; a method explains its other symbols itself (`Method.where`).
SYMBOLS = {
    r"\theta": "weights",
    r"\theta_o": "weights of the original",
    "D": "training set",
    "D_f": "forget set",
    "D_r": "retain set",
    "D_v": "held-out instances",
    r"\ell_i": "cross-entropy of instance $i$",
    "L_f": "mean cross-entropy on the forget set",
    "L_r": "mean cross-entropy on the retain set",
    "L_v": "mean cross-entropy on held-out instances",
    r"p_\theta": "the model's prediction",
    r"p_{\theta_o}": "the original's prediction",
    r"\alpha": "strength",
    r"\alpha_t": "strength at step $t$, which falls linearly to zero",
    r"\eta": "learning rate",
}


def facts(method: Method) -> dict[str, str]:
    """What a card says below the summary, in plain words, in order."""
    alpha = {"α": method.alpha} if method.alpha else {"α": "none"}
    return (
        {"Goal": GOALS[method.goal] + "."}
        | alpha
        | {
            "Needs": needs(method) + ".",
            "Works on": works_on(method) + ".",
            "Cost": method.cost + ".",
            "Limits": method.limits,
            "Source": method.paper + ".",
        }
    )


def needs(method: Method) -> str:
    """The data that it gets beside the model and the forget set."""
    return ", ".join(NEEDS[name] for name in method.needs) or "only the model and the forget set"


def works_on(method: Method) -> str:
    return ", ".join(models.info(name).title for name in method.models) or "every model"


def legend(method: Method) -> str:
    """What the symbols of its equation mean, as a Markdown sentence; "" without an equation."""
    rest, used = method.equation, set()
    for symbol in sorted(SYMBOLS, key=len, reverse=True):  # the longest first: D_f is no D
        pattern = rf"(?<![A-Za-z\\]){re.escape(symbol)}(?![A-Za-z_])"
        if re.search(pattern, rest):
            used.add(symbol)
            rest = re.sub(pattern, " ", rest)
    common = [f"${symbol}$ {meaning}" for symbol, meaning in SYMBOLS.items() if symbol in used]
    said = "; ".join([*common, method.where] if method.where else common)
    return f"{said}." if said else ""


def card(method: Method) -> str:
    """The card as Markdown."""
    lines = [f"## {method.title}", "", f"`{method.name}` · {method.summary}", ""]
    lines += ["```math", method.equation, "```", "", legend(method), ""] if method.equation else []
    return "\n".join([*lines, *(f"- **{name}**: {words}" for name, words in facts(method).items())])


def page(methods: Iterable[Method]) -> str:
    """All methods as one Markdown page: a table, then a card for each."""
    methods = list(methods)
    head = ("Method", "Goal", "α", "Needs", "Cost", "Models")
    rows = [(f"[{m.title}](#{anchor(m.title)})", m.goal, "yes" if m.alpha else "", needs(m), m.cost, works_on(m)) for m in methods]
    table = [head, ("---",) * len(head), *rows]
    text = [
        "# Methods",
        "",
        "Made from the declarations in `unlearn_core/methods` by `python -m unlearn_core cards > assets/docs/methods.md`.",
        "",
        *("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in table),
        "",
        "Goals: " + "; ".join(GOALS.values()) + ". α values of different methods cannot be compared.",
        "",
        *(card(m) + "\n" for m in methods),
    ]
    return "\n".join(text)


def anchor(title: str) -> str:
    """The address that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
