"""The slice of a run on texts: its words, its corners, and one chosen by hand."""

import json

import pytest

from pages.parts.backend import backend
from ui.conftest import App, server
from unlearn_core import projection
from unlearn_core.data import importing, own
from unlearn_core.data.importing import Options
from unlearn_core.runs import api
from unlearn_core.runs.store import Store

TEXTS = [{"text": f"*hello* number {i} is {('fine', 'bad')[i % 2]} & <b>loud</b>", "label": "ab"[i % 2]} for i in range(80)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The app on a store with one run on texts."""
    folder = tmp_path_factory.mktemp("mixes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLEARN_STORE", str(folder))
        patch.setattr(projection, "umap_layout", lambda features, *rest: projection.pca(features))
        kept = own.save(importing.read("\n".join(map(json.dumps, TEXTS)).encode(), "t.jsonl", Options(text="text")))
        asked = {"dataset_params": {"key": kept.key}, "model_params": {"epochs": 2}, "retrains": 3}
        run = api.run("own_texts", "random:0.05", "finetune", "bag", device="cpu", store=Store(folder), **asked)
    with server(folder):
        yield run, App("studio", run=run.key).set(section="Boundary")


def test_it_is_said_that_places_are_mixes_and_corners_are_real(opened):
    run, app = opened
    said = app.texts()
    assert "There is no text between two texts" in said and "it proves nothing about other texts" in said
    assert "only its ends and its middle are real" in said
    view = run.views["plane"]
    for mark, i in zip("★●■", view["corner_ids"], strict=True):
        assert f"{mark} {i}, labelled" in said
    # What came in a file is shown as it is, not read as markup.
    assert r"\*hello\* number" in said and "no straight line" not in said


def test_a_plane_through_chosen_texts_is_asked_for(opened):
    run, app = opened
    ids = sorted(set(run.spec.gone) | {int(i) for i in run.views["plane"]["corner_ids"]})[-3:]
    app.set(**{f"plane.{run.key}.{k}": ids[k] for k in range(3)}).press("plane.draw")
    assert any(job.kind == "plane" and job.spec["triplet"] == ids for job in backend().store.jobs("plane"))
