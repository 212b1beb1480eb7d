"""The sidebar lists every dataset once, says where its files are, and shows what texts and wide rows are."""

import json
from html import escape

import pytest
from data.test_importing import TABLE, csv

from pages.parts import gallery, mapping, opening
from pages.parts.backend import backend, original
from pages.parts.plain import plain
from ui.conftest import App, server
from unlearn_core import data
from unlearn_core.data import files, importing, own
from unlearn_core.data.importing import Options
from unlearn_core.errors import BadInput
from unlearn_core.runs.originals import prepare
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec


@pytest.fixture
def nothing_here(tmp_path, monkeypatch):
    """No file of any dataset on this machine; returns the folder that could hold them."""
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("UNLEARN_DATA_DIR", str(tmp_path / "given"))
    monkeypatch.delenv("UNLEARN_OFFLINE", raising=False)
    return tmp_path / "given"


def public(name):
    return App("studio").set(open__kind=opening.PUBLIC).set(open__public=name)


def test_every_dataset_is_listed_once_by_kind(empty, nothing_here):
    app = App("studio")
    built_in = app.widget("open.dataset").options
    listed = app.set(open__kind=opening.PUBLIC).widget("open.public").options
    known = [info for info in data.registry().values() if info.name not in own.NAMES.values()]
    assert built_in == [info.title for info in known if not info.files]
    assert [option.split(" ↓ ")[0] for option in listed] == [info.title for info in known if info.files]
    assert "open.own" not in app.set(open__kind=opening.OWN).keys  # nothing was imported
    assert "import.begin" in app.keys


def test_what_opening_costs_is_said_before(empty, nothing_here, monkeypatch):
    app = public("adult")
    info = data.info("adult")
    assert "Adult (census income) ↓ 6.0 MB" in app.widget("open.public").options
    assert "Downloads 6.0 MB on opening" in app.texts()
    assert info.licence in app.texts() and info.citation in app.texts()
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    assert "forbids downloads" in app.run().texts()
    for file in info.files:
        (nothing_here / file.path).parent.mkdir(parents=True, exist_ok=True)
        (nothing_here / file.path).touch()
    assert "On this machine already" in app.run().texts() and "Adult (census income)" in app.widget("open.public").options
    assert "not offered for download" in app.set(open__public="orl").texts()


def test_a_download_that_cannot_be_is_told_in_the_panel(empty, nothing_here, monkeypatch):
    app = public("mnist")
    next(b for b in app.at.button if b.label == "Open MNIST").click()
    app.run()
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    with pytest.raises(BadInput) as refused:
        prepare(backend().store, app.state.spec, Reporter())
    backend().store.finish(app.state.spec.key, "failed", str(refused.value))
    app.run()
    assert plain(str(refused.value)) in [error.value for error in app.at.error]
    assert "UNLEARN_OFFLINE" in app.texts() and f"again.{app.state.spec.key}" in app.keys


# texts and wide rows ---------------------------------------------------------------------------------------

HOSTILE = "![x](http://a.example/b.png) <b>bold</b> $5 and $6 :red[c]"
LONG = "word " * 300


def mail(i):
    usual = f"mail {i} is long: {LONG}" if i % 2 else f"first line {i}\nsecond, with, commas"
    text = usual if i % 10 else f"{HOSTILE} {i}"
    return {"text": text, "label": "ab"[i // 2 % 2]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The app with originals of own texts and of an own table of fifty columns."""
    with server(tmp_path_factory.mktemp("own")) as handle:
        wide = TABLE[["label"]].assign(**{f"column {i}": range(i + 1, i + 121) for i in range(30)}, town=TABLE.town)
        texts = "\n".join(json.dumps(mail(i)) for i in range(80)).encode()
        given = {"texts": (texts, "mails.jsonl", Options(text="text")), "rows": (csv(wide), "wide.csv", Options())}
        specs = {}
        for name, (content, file, options) in given.items():
            kept = own.save(importing.read(content, file, options))
            model = {"epochs": 1} if name == "texts" else {"epochs": 1, "width": 8}
            specs[name] = OriginalSpec.make(kept.name, None, {"key": kept.key}, model)
            prepare(handle.store, specs[name], Reporter(), layout=lambda features, *rest: features[:, :2])
        yield specs


def opened(spec):
    app = App("studio")
    app.state.open(spec)
    return app.run()


def test_a_text_is_shown_as_a_snippet_beside_the_pointer(prepared):
    found = original(prepared["texts"].key)
    rows = dict(zip(found.ids.tolist(), mapping._rows(found.key), strict=True))
    for i, row in rows.items():
        assert row.strip() and "\n" not in row and len(row) <= mapping.SNIPPET + 2
        whole = " ".join(mail(i)["text"].split())
        assert row == whole or (row.endswith(" …") and whole.startswith(row.removesuffix(" …")))


def test_the_words_of_a_chosen_text_are_in_the_gallery_and_never_markup(prepared):
    app = opened(prepared["texts"])
    found = original(app.state.spec.key)
    ids = found.ids.tolist()
    short, hostile = next(i for i in ids if i % 10 == 2), next(i for i in ids if i % 10 == 0)
    app.choose(f"{short},{hostile}")
    shown = "\n".join(app.html())
    assert f"first line {short}" in shown and "second, with, commas" in shown
    assert HOSTILE not in shown + app.texts() and escape(f"{HOSTILE} {hostile}") in shown
    assert "mails" in [subheader.value for subheader in app.at.subheader]


def test_snippets_are_cut_between_words():
    assert mapping.snippet("a  b\nc", 10) == "a b c"
    assert mapping.snippet("x" * 50, 10) == "x" * 9 + " …"
    assert mapping.snippet("aaaa bbbb, cccc dddd", 11) == "aaaa bbbb …"


def test_wide_rows_stay_readable(prepared):
    found = original(prepared["rows"].key)
    for row in mapping._rows(found.key):
        lines = row.split("\n")
        assert len(lines) == mapping.TEXT_LINES + 1 and lines[0].startswith("column 0 ")
        assert lines[-1].startswith("… and ") and lines[-1].endswith(" more")
    app = opened(prepared["rows"]).set(random__count=2).press("random.add")
    shown = [body for body in app.html() if body.startswith("<div>column 0 ")]
    assert len(shown) == 2 and all(len(body) <= gallery.LONGEST + 20 and body.endswith("…</div>") for body in shown)


def test_what_was_done_to_the_data_is_on_screen(prepared):
    app = opened(prepared["texts"])
    notes = original(app.state.spec.key).meta["notes"]
    assert notes and all(f"- {plain(note)}" in app.texts() for note in notes)
    assert app.widget("open.own").options == ["mails", "wide"] and "own data" in app.texts()


def test_settings_of_imported_data_do_not_ask_which_it_is(prepared):
    app = opened(prepared["texts"])
    spec = app.state.spec
    drawn = {key for key in app.keys if key.startswith(f"open.{spec.key}.own_texts.")}
    assert not any(key.endswith(".key") for key in drawn) and any(key.endswith(".length") for key in drawn)
    assert app.widget(f"open.{spec.key}.own_texts.{spec.dataset_params['key']}.length").value == spec.dataset_params["length"]
    assert not any(b.label.startswith("Open ") and b.key is None for b in app.at.button)  # it is what is open already
