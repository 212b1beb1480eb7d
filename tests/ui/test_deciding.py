"""Words that decide: marked in the gallery and, before and after, in the section Instances; asked for, never in the way."""

import numpy as np
import pytest

from pages.parts import deciding
from ui.conftest import App, server
from unlearn_core import data
from unlearn_core.data import own
from unlearn_core.data.importing.imported import Imported
from unlearn_core.evidence import attribution
from unlearn_core.runs import api
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import Store


def flat(features, *_):
    """A layout for tests that look at no map."""
    return np.zeros((len(features), 2), np.float32) + np.arange(len(features))[:, None]


def do(pipeline):
    """What the worker would do with the jobs that wait."""
    from unlearn_core.runs.worker import work

    while job := pipeline.store.claim(0):
        work(pipeline.store, pipeline, job)
        assert pipeline.store.job(job.key).status == "done", pipeline.store.job(job.key).details


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """The app on a store with one's own texts, in which one word tells the class, and a run on them."""
    folder = tmp_path_factory.mktemp("deciding")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNLEARN_STORE", str(folder))
        rng, labels = np.random.default_rng(0), np.arange(160) % 2
        filler = rng.choice(["the <b>end</b>", "of", "& so on", "*stars*"], (160, 5))
        texts = tuple(" ".join([*row, "good" if label else "bad"]) for row, label in zip(filler, labels, strict=True))
        kept = own.save(Imported("said", "text", labels, ("no", "yes"), texts=texts))
        pipeline = Pipeline(Store(folder), layout=flat)
        params = {"epochs": 60, "pairs": False}
        original = pipeline.prepare(OriginalSpec.make(kept.name, "bag", {"key": kept.key}, params), Reporter())
        run = api.complete(pipeline, api.request(original, original.ids[:6].tolist(), "finetune", {"epochs": 1}, retrains=3), Reporter())
        with server(folder):
            yield pipeline, original, run


def test_words_are_asked_for_and_then_marked_in_the_gallery(said):
    pipeline, original, run = said
    app = App("studio", run=run.key)
    asked = [job for job in pipeline.store.jobs("attribution") if not job.ended]
    assert [job.spec["ids"] for job in asked] == [sorted(run.spec.forget)]
    assert "<mark" not in "".join(body for body in app.html() if "speaks for" not in body)
    do(pipeline)
    app.run()
    stored = api.load_attribution(pipeline.store, original.key)
    assert set(stored) == set(run.spec.forget)
    shown = [body for body in app.html() if "<mark" in body and "speaks for" not in body]
    assert len(shown) == len(run.spec.forget)
    for body, i in zip(shown, run.spec.forget, strict=True):
        word = "good" if original.arrays["label"][original.row_of[i]] else "bad"
        assert f">{word}<sup>+</sup></mark>" in body and "<b>end" not in body
    assert "log-odds of the given label" in app.widget("gallery.mark.text").help
    app.set(gallery__mark__text=False)
    assert not any("<mark" in body for body in app.html())


def test_further_instances_are_added_to_those_that_are_there(said):
    pipeline, original, run = said
    ids = original.ids[:20].tolist()
    app = App("studio", run=run.key).choose(", ".join(map(str, ids)))
    do(pipeline)
    app.run()
    there = api.load_attribution(pipeline.store, original.key)
    assert set(there) == set(ids)
    dataset = data.load(original.spec.dataset, original.spec.dataset_params)
    assert {len(there[i]) for i in ids} == {int((dataset.inputs[i] > 0).sum()) for i in ids}


def test_before_and_after_in_the_section_instances(said):
    pipeline, original, run = said
    app = App("studio", run=run.key).set(section="Instances")
    assert "Which words decide, before and after" in app.texts() and any("log-odds of the given label" in body for body in app.html())
    app.press(f"deciding.{run.key}")
    do(pipeline)
    app.run()
    view = api.load_run_attribution(pipeline.store, run.key)
    assert view["retrained"].shape == (3, view["start"][-1]) and view["ids"].tolist() == list(run.spec.gone)
    assert np.array_equal(view["original"][: view["start"][1]], api.load_attribution(pipeline.store, original.key)[run.spec.gone[0]])
    share = attribution.same_first(view)["unlearned"]
    assert f"**{share:.0%}** after unlearning" in app.texts()
    assert {"Original", "Unlearned", "Retrained (mean of 3)"} <= {
        who for who in ("Original", "Unlearned", "Retrained (mean of 3)") if any(who in b for b in app.html())
    }
    assert app.charts() > 0
    api.delete_run(pipeline.store, run.key)
    assert api.load_run_attribution(pipeline.store, run.key) is None


def test_columns_of_rows_are_marked_where_they_stand(runs):
    from pages.parts.backend import original

    found = original(runs["wine"].spec.original.key)
    i = runs["wine"].spec.forget[0]
    names, text = found.meta["feature_names"], found.texts[found.row_of[i]]
    places = deciding.part_spans(found, i)
    assert ", ".join(text[a:b] for a, b in places) == text
    assert all(text[a:b].startswith(f"{name} ") for name, (a, b) in zip(names, places, strict=True))
    logits = np.zeros(len(names))
    logits[2], logits[5] = -0.5, 0.2
    body = deciding.shown(found, i, logits, 600)
    assert body.count("<mark") == 2 and f"{text[slice(*places[2])]}<sup>−</sup>" in body
    assert f"{text[slice(*places[2])]} −0.50 · {text[slice(*places[5])]} +0.20" in body


def test_pictures_are_not_asked_about(runs):
    app = App("studio", run=runs["digits"].key)
    assert not any(key.startswith("gallery.mark") for key in app.keys)
