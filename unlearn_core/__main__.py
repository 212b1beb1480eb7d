"""The command line: `python -m unlearn_core list|cards|run|tune|bench|anchors|data|app`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unlearn_core.errors import BadInput

BAD_INPUT = 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m unlearn_core", description="Unlearn chosen training instances and collect honest evidence."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_list(commands)
    commands.add_parser("cards", help="a card for each method as Markdown: equation, goal, α, cost, limits, citation")
    _add_run(commands)
    _add_tune(commands)
    _add_bench(commands)
    _add_anchors(commands)
    _add_data(commands)
    app = commands.add_parser("app", help="start the dashboard (sets everything up on the first start)")
    app.add_argument("streamlit", nargs="*", help="options handed on to Streamlit, after --")
    given = parser.parse_args(arguments)
    try:
        with _in_store(getattr(given, "store", None)):
            known = {
                "list": _list, "cards": _cards, "run": _run, "tune": _tune, "bench": _bench, "anchors": _anchors, "data": _data, "app": _app,
            }  # fmt: skip
            return known[given.command](given)
    except BadInput as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return BAD_INPUT
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("unlearn_core"):
            raise
        print(
            f"{parser.prog}: the package {error.name} is not installed for this Python. Start the app once to set up .venv, then use .venv/bin/python.",
            file=sys.stderr,
        )
        return 1


@contextmanager
def _in_store(folder: str | None) -> Iterator[None]:
    """While a command runs, `folder` is the store for everything that asks the environment, such as imported data."""
    before = os.environ.get("UNLEARN_STORE")
    if folder:
        os.environ["UNLEARN_STORE"] = folder
    try:
        yield
    finally:
        if folder and before is None:
            del os.environ["UNLEARN_STORE"]
        elif folder:
            os.environ["UNLEARN_STORE"] = before


def _add_list(commands: Any) -> None:
    listing = commands.add_parser("list", help="what there is: datasets, models, methods")
    listing.add_argument("what", choices=("datasets", "models", "methods"))
    listing.add_argument("--json", action="store_true", help="one JSON list on stdout")


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="unlearn a forget set and print the evidence")
    _add_request(run)
    run.add_argument("--alpha", help="the method's strength, a number, auto or search")
    run.add_argument("--retrains", default="3", help="retrained reference models (at least 3 for verdicts)")
    run.add_argument("--pool", default="0", help="shadow models to audit the run with: LiRA, RMIA, verdicts (default: none; 64 is usual)")
    run.add_argument("--u-lira", action="store_true", help="also run the method on the judging half of the pool")


def _add_tune(commands: Any) -> None:
    _add_request(commands.add_parser("tune", help="search for a method's strength on a forget set, without any retrained model"))


def _add_request(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", required=True)
    command.add_argument("--model", help="default: the dataset's own")
    command.add_argument("--forget", required=True, help="random:0.03, random:50, ids:3,17, class:8, class:8:20 or file:PATH")
    command.add_argument("--method", required=True)
    command.add_argument("--seed", default="0", help="a whole number; the same seed gives the same result")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    for kind in ("method", "dataset", "model"):
        command.add_argument(
            f"--{kind}-param", action="append", default=[], metavar="NAME=VALUE", help=f"a parameter of the {kind}; may be repeated"
        )
    command.add_argument(
        "--weights", metavar="FILE", help="a state dict (safetensors) that the original model has, instead of being trained"
    )
    command.add_argument("--from", dest="parent", metavar="KEY", help="the stored run whose model this request goes on from")
    command.add_argument("--store", help="folder of results (default: UNLEARN_STORE or .store)")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="compare methods on forget sets of several kinds, beside doing nothing and retraining")
    bench.add_argument("--suite", default="sources", help="sources, or quick to try it out")
    bench.add_argument("--seeds", default="5", help="draws of the forget set (where it is random) and of the method")
    bench.add_argument("--methods", default="", help="names separated by commas (default: all)")
    bench.add_argument(
        "--weights", metavar="FILE", help="a state dict (safetensors) for the original; cases that it does not fit are left out"
    )
    bench.add_argument("--device", default="auto", help="auto, cpu or cuda")
    bench.add_argument("--store", help="folder of results (default: UNLEARN_STORE or .store)")
    bench.add_argument("--json", action="store_true", help="one JSON list on stdout")


def _add_anchors(commands: Any) -> None:
    anchors = commands.add_parser("anchors", help="embed what a dataset's classes are called or look like with a pretrained text encoder")
    anchors.add_argument("--dataset", required=True)
    anchors.add_argument("--encoder", default="all-MiniLM-L6-v2", help="name or folder of a sentence encoder (needs sentence-transformers)")


def _add_data(commands: Any) -> None:
    own = commands.add_parser("data", help="your own imported data: list it with what was made from it, or delete both").add_subparsers(
        dest="what", required=True
    )
    listing = own.add_parser("list", help="what is kept, and what is left of deleted data")
    deleting = own.add_parser("delete", help="for good")
    deleting.add_argument("key", help="as listed")
    deleting.add_argument("--only-data", action="store_true", help="keep models, maps (with their pictures and texts), runs and selections")
    deleting.add_argument("--yes", action="store_true", help="do it; without this, it is only said what would go")
    for command in (listing, deleting):
        command.add_argument("--store", help="folder of results (default: UNLEARN_STORE or .store)")
    listing.add_argument("--json", action="store_true", help="one JSON list on stdout")


def _data(given: argparse.Namespace) -> int:
    from unlearn_core.data import own
    from unlearn_core.runs import deleting
    from unlearn_core.runs.store import Store

    store = Store(given.store)
    if given.what == "delete":
        made = deleting.made_from(store, given.key)
        title = f"{made.kept.title} ({made.kept.instances:,} instances)" if made.kept else "data that was deleted before"
        told = title if given.only_data else f"{title}, and what was made from it: {made}, {made.size / 1e6:.1f} MB"
        if given.yes and given.only_data:
            deleting.delete_data_only(store, given.key)
        elif given.yes:
            deleting.delete(store, given.key)
        print(f"Deleted: {told}." if given.yes else f"This would delete {told}.\nNothing was deleted. Say --yes to do it.")
        return 0
    found = [deleting.made_from(store, kept.key) for kept in own.kept()] + deleting.leftovers(store)
    if given.json:
        print(json.dumps([made.to_dict() for made in found], allow_nan=False))
        return 0
    for made in found:
        about = f"{made.kept.title}: {made.kept.instances:,} instances" if made.kept else "deleted, but not what was made from it"
        print(f"{made.key}  {about}\n{'':<18}{made.size / 1e6:.1f} MB; made from it: {made}")
    if not found:
        print("No data was imported.")
    return 0


def _anchors(given: argparse.Namespace) -> int:
    from unlearn_core import data
    from unlearn_core.data.anchors import embed
    from unlearn_core.params import resolve

    info = data.info(given.dataset)
    loaded = data.load(info.name, resolve(info.params, {}, info.name))
    print(embed(info.name, loaded.class_names, given.encoder))
    return 0


def _list(given: argparse.Namespace) -> int:
    from unlearn_core import data, methods, models

    registry = {"datasets": data, "models": models, "methods": methods}[given.what].registry()
    rows = [_describe(item) for item in registry.values()]
    if given.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        print(f"{row['name']:<14} {row['title']}\n{'':<14} {row['description']}")
        for param in row["params"]:
            print(f"{'':<16} {param['name']} = {param['default']}  {param['help']}")
    return 0


def _cards(given: argparse.Namespace) -> int:
    from unlearn_core import cards, methods

    print(cards.page(methods.registry().values()), end="")
    return 0


def _describe(item: Any) -> dict[str, Any]:
    shown = {"name": item.name, "title": item.title, "description": getattr(item, "description", None) or item.summary}
    for extra in ("modality", "modalities", "goal", "alpha", "needs", "cost", "limits", "paper", "licence", "citation"):
        if hasattr(item, extra):
            shown[extra] = getattr(item, extra)
    fields = ("name", "kind", "default", "low", "high", "choices", "auto", "help")
    return shown | {"params": [{f: getattr(param, f) for f in fields} for param in item.params]}


def _run(given: argparse.Namespace) -> int:
    retrains, pool = _whole("retrains", given.retrains), _whole("pool", given.pool)
    result = _requested(given, alpha=given.alpha, retrains=retrains, pool=pool, u_lira=given.u_lira)
    if given.json:
        print(json.dumps(result.to_dict("done"), allow_nan=False))
    else:
        from unlearn_core.report import as_text

        print(as_text(result))
    return 0


def _tune(given: argparse.Namespace) -> int:
    from unlearn_core.params import SEARCH
    from unlearn_core.runs import tuning

    search = _requested(given, alpha=SEARCH, retrains=0).chosen["search"]
    print(json.dumps(search, allow_nan=False) if given.json else tuning.table(search))
    return 0


def _requested(given: argparse.Namespace, **rest: Any) -> Any:
    from unlearn_core.runs import api

    chosen = {kind: _pairs(getattr(given, f"{kind}_param"), kind) for kind in ("method", "dataset", "model")}
    with bar() as reporter:
        return api.run(
            given.dataset, given.forget, given.method, given.model,
            params=chosen["method"], dataset_params=chosen["dataset"], model_params=chosen["model"], weights=given.weights, seed=_whole("seed", given.seed),
            device=given.device, parent=given.parent, store=given.store, reporter=reporter, **rest,
        )  # fmt: skip


def _bench(given: argparse.Namespace) -> int:
    from unlearn_core.models.device import choose, settle
    from unlearn_core.runs import study
    from unlearn_core.runs.store import Store

    settle()
    wanted = [name.strip() for name in given.methods.split(",") if name.strip()]
    with bar() as reporter:
        store, device = Store(given.store), choose(given.device)
        own = Path(given.weights) if given.weights else None
        rows = list(study.study(given.suite, store, _whole("seeds", given.seeds), wanted, device, reporter, own))
    print(json.dumps([asdict(row) for row in rows], allow_nan=False) if given.json else study.table(rows))
    return 0


def _pairs(texts: list[str], kind: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"{kind}-param", f"{text!r} is not NAME=VALUE.", "Write for example passes=3.")
        found[name] = value
    return found


def _whole(field: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput(field, f"{text!r} is not a whole number.", f"Write for example --{field} 3.") from None


def bar() -> Any:
    """A context that gives a Reporter which draws one bar for each stage on stderr."""
    from unlearn_core.runs.progress import Reporter

    class Bar(Reporter):
        stage_name = drawn = ""

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            if self.stage_name:
                sys.stderr.write("\n")

        def expect(self, words: str) -> None:
            sys.stderr.write(f"{words}\n")

        def show(self, stage: str, fraction: float, curves: dict[str, float]) -> None:
            filled = round(30 * fraction)
            line = f"{'█' * filled}{'·' * (30 - filled)} {fraction:4.0%} {stage}"
            if line == self.drawn:
                return
            sys.stderr.write("\n" if stage != self.stage_name and self.stage_name else "\r")
            sys.stderr.write(line)
            sys.stderr.flush()
            self.stage_name, self.drawn = stage, line

    return Bar()


def _app(given: argparse.Namespace) -> int:
    from unlearn_core.environment import start_app

    return start_app(given.streamlit)


if __name__ == "__main__":
    sys.exit(main())
