"""The page process draws everything without the heavy libraries; they live in the worker."""

import subprocess
import sys

from ui.conftest import ROOT

SCRIPT = """
import sys
from ui.conftest import App, server
from unlearn_core.runs.demo import example_key

with server(sys.argv[1]):
    App()
    app = App("studio", run=example_key())
    for section in ("Utility", "Boundary", "Structure", "Privacy", "Files"):
        app.set(section=section)
    app = App("studio").set(random__count=5).press("random.add")
    for way in app.widget("way").options:
        app.set(way=way)
    for method in ("retrain", "finetune", "neggrad_plus", "nabla_tau"):
        app.set(method=method)
    app.press("unlearn")
    App("runs")
print(sorted({"torch", "umap", "numba", "sklearn.manifold"} & set(sys.modules)))
"""


def test_pages_import_neither_torch_nor_umap(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"
