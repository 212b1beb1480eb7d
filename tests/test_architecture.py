"""The house: imports point downwards, declarations are light, the page process stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "unlearn_core").rglob("*.py"))
PAGES = sorted([*(ROOT / "pages").rglob("*.py"), ROOT / "app.py"])

# room → rooms of unlearn_core that it may import (its own and the common modules always)
COMMON = {"errors", "params", "registry", "seeds", "environment", "__init__"}
ALLOWED = {
    "data": set(),
    "models": {"data"},
    "methods": {"models", "data"},
    "evidence": {"models", "data"},
    "figures": {"evidence", "data"},
    "projection": {"data"},
    "runs": {"evidence", "methods", "models", "data", "projection"},
    "cards": {"methods", "models", "data"},
    "report": {"figures", "runs", "evidence", "methods", "models", "data"},
    "__main__": {"cards", "report", "runs", "evidence", "methods", "models", "data"},
    "__init__": {"runs"},
}


def room(path: Path) -> str:
    inside = path.relative_to(ROOT / "unlearn_core")
    return inside.parts[0].removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Full names that a file imports, wherever in it; without those that only type checkers see."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for check in ast.walk(tree)
        if isinstance(check, ast.If) and "TYPE_CHECKING" in ast.dump(check.test)
        for node in ast.walk(check)
    }
    if top_level_only:
        hidden |= {
            id(node) for inner in ast.walk(tree) if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in ast.walk(inner)
        }
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("unlearn_core.")}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = room(path)
    assert rooms_of(imports(path)) - COMMON - {own} <= ALLOWED.get(own, set())
    outside = {name.split(".")[0] for name in imports(path)}
    assert not outside & {"streamlit", "pages", "app", "tests"}


def test_the_rule_notices_an_upward_import(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from unlearn_core.runs import api\n    import streamlit as st\n")
    assert rooms_of(imports(path)) == {"runs"} and "streamlit" in imports(path)
    assert imports(path, top_level_only=True) == set()


@pytest.mark.parametrize("path", [p for p in CORE if room(p) == "figures"], ids=lambda path: path.name)
def test_figures_know_numbers_and_never_models(path):
    names = imports(path)
    assert not {name.split(".")[0] for name in names} & {"torch", "umap", "streamlit"}
    assert "models" not in rooms_of(names)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_hold_no_science(path):
    outside = {name.split(".")[0] for name in imports(path)}
    assert not outside & {"torch", "umap", "sklearn", "scipy"}
    # What a page asks of the worker goes through runs; it never computes with a model itself.
    assert not [name for name in imports(path) if name.startswith(("unlearn_core.models.", "unlearn_core.runs.pipeline"))]


@pytest.mark.parametrize(
    "path", [p for p in CORE if room(p) in ("data", "models", "methods", "evidence")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_declarations_import_nothing_heavy_at_the_top(path):
    declares = [name for name in ("DATASET", "MODEL", "METHOD", "EVIDENCE") if f"\n{name} =" in path.read_text(encoding="utf-8")]
    heavy = {name.split(".")[0] for name in imports(path, top_level_only=True)} & {"torch", "umap", "sklearn", "scipy", "safetensors"}
    assert not (declares and heavy)


def run_python(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_declarations_load_without_the_heavy_packages():
    code = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "umap", "numba", "sklearn", "scipy", "safetensors", "streamlit"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
try:
    import torch
    raise SystemExit("the block does not work")
except ImportError:
    pass
from unlearn_core import data, evidence, methods, models
for module in (data, models, methods, evidence):
    for name, item in module.registry().items():
        print(name)
from unlearn_core.runs import api
from unlearn_core.runs.spec import OriginalSpec, RunSpec
spec = OriginalSpec.make("digits")
RunSpec.make(spec, "x", range(10), 20, [1, 2], "nabla_tau", {"alpha": "auto"})
import unlearn_core.__main__
unlearn_core.__main__.main(["list", "methods"])
"""
    printed = run_python(code).split()
    assert {"digits", "mlp", "nabla_tau", "privacy"} <= set(printed)


def test_the_page_process_has_neither_torch_nor_umap():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PAGES if "parts" in path.parts or path.parent == ROOT / "pages"
    ]
    # Pages run when imported; outside of Streamlit their widgets only warn, so what they import is what counts here.
    parts = [name for name in modules if ".parts." in name]
    assert parts
    code = f"""
import importlib, logging, sys
logging.disable(logging.CRITICAL)
import streamlit
sys.path.insert(0, {str(ROOT / "pages")!r})
for name in {parts!r}:
    importlib.import_module(name)
import unlearn_core.runs.api, unlearn_core.runs.service, unlearn_core.runs.demo, unlearn_core.report
print(sorted({{"torch", "umap", "numba", "sklearn"}} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"
