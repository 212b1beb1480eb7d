"""The process that reads a person's own file: what comes back, and what happens to files that hurt their reader."""

import gc
import json
import os
import queue
import subprocess
import sys
import time

import numpy as np
import pytest
from data.test_bad_files import BAD
from data.test_importing import TABLE, csv, folders, npz, packed

from unlearn_core.data import importing, own
from unlearn_core.data.importing import Options
from unlearn_core.data.importing.summary import COLUMNS, PICTURES, summarise
from unlearn_core.errors import BadInput, Cancelled
from unlearn_core.runs import reading as readings
from unlearn_core.runs.reading import Reading
from unlearn_core.runs.store import Store


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def reading():
    found = Reading()
    yield found
    found.close()


def asked(reading, do, path, options=None, token="1"):
    reading.ask(do, path, path.name, token, options)
    return reading.answer(patience=60)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_same_as_reading_here(reading, store):
    for content, name, options in (
        (csv(), "t.csv", Options(protected=("sex",))),
        (packed(folders()), "p.zip", Options(side=16, title="Pets")),
        (npz(x=np.random.default_rng(0).normal(size=(60, 2)), y=np.arange(60) % 2), "p.npz", Options()),
    ):
        path = reading.receive(content, name)
        reading.ask("preview", path, name, name)
        assert reading.answer(60) == importing.preview(content, name)
        here = importing.read(content, name, options)
        reading.ask("check", path, name, name, options)
        assert reading.answer(60) == summarise(here)
        reading.ask("keep", path, name, name, options)
        kept = reading.answer(60)
        assert own.kept() == [kept] and own.save(here) == kept
        own.delete(kept.key)
    assert len(list((store / "data").iterdir())) == 1  # the upload
    reading.close()
    assert not list((store / "data").iterdir())


@pytest.mark.parametrize("case", ["pickle", "npz bomb", "zip bomb", "open quote", "cut parquet", "a class for each row"])
def test_refusals_come_through_word_by_word(case, reading):
    content, name, options, field = BAD[case]
    with pytest.raises(BadInput) as here:
        importing.read(content, name, Options(**options))
    path = reading.receive(content, name)
    reading.ask("check", path, name, "1", Options(**options))
    with pytest.raises(BadInput) as caught:
        reading.answer(60)
    assert caught.value.field == field and caught.value.problem.split("holds")[0] == here.value.problem.split("holds")[0]
    assert not own.kept() and not reading.under_way
    with pytest.raises(Cancelled):
        reading.answer()


def test_another_choice_does_not_read_the_file_again(reading, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(csv())
    assert asked(reading, "check", path, Options()).instances == 120
    path.write_bytes(b"spoilt")
    assert asked(reading, "check", path, Options(drop_duplicates=True)).title == "t"
    assert asked(reading, "keep", path, Options(drop_duplicates=True, title="Mine")).title == "Mine"
    with pytest.raises(BadInput):
        asked(reading, "check", path, Options(), token="2")


def hurting(tmp_path, monkeypatch, code):
    """A reader that runs `code` before it reads: what a file that breaks a library would do."""
    place = tmp_path / "hurt"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        f"""
import sys
if "unlearn_core.runs.reading_process" in sys.orig_argv:
    sys.path.insert(0, {str(readings.ROOT)!r})
    from unlearn_core.data.importing import source
    def hurt(self):
        {code}
    source.Source.open, source.available = hurt, lambda: 500_000_000
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(place))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended by the system (signal 9"),
        ("import ctypes; ctypes.string_at(1)", "ended by the system (signal 11"),
        ("import os; os._exit(7)", "ended unexpectedly (exit status 7)"),
    ],
)
def test_a_file_that_kills_its_reader_is_one_sentence(code, words, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        hurting(tmp_path, patch, code)
        reading = Reading()
        path = reading.receive(csv(), "t.csv")
        with pytest.raises(BadInput) as caught:
            asked(reading, "preview", path)
    assert words in str(caught.value) and "Nothing was kept" in caught.value.fix
    assert len(asked(reading, "preview", path)) == len(TABLE.columns)  # a fresh reader takes the next one
    reading.close()


def test_a_reader_that_is_killed_within_an_answer_is_heard_of():
    code = 'import os; os.write(1, b\'{"told": 1}\\n{"answer": [1, 2\'); os._exit(3)'
    said = queue.SimpleQueue()
    readings._listen(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True), said)
    assert [said.get_nowait() for _ in range(said.qsize())] == [{"told": 1}, {"ended": 3}]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to a limit of its memory")
def test_a_file_that_eats_memory_ends_only_its_reader(tmp_path, monkeypatch):
    hurting(tmp_path, monkeypatch, "return [bytearray(1 << 26) for _ in range(10**6)]")
    reading = Reading()
    path = reading.receive(csv(), "t.csv")
    with pytest.raises(BadInput, match="t.csv needs more memory than the"):
        reading.ask("preview", path, "t.csv", "1")
        reading.answer(60)
    reading.close()


def test_a_file_that_hangs_its_reader_is_given_up(tmp_path, monkeypatch):
    hurting(tmp_path, monkeypatch, "import time; time.sleep(1000)")
    monkeypatch.setattr(readings, "SILENT", 1.0)
    reading = Reading()
    path = reading.receive(csv(), "t.csv")
    reading.ask("preview", path, "t.csv", "1")
    child = reading._process.pid
    with pytest.raises(BadInput, match="made no progress for 1 seconds"):
        while reading.answer(0.2) is None:
            pass
    assert not alive(child)
    reading.close()


def test_cancelling_ends_the_process_and_leaves_nothing(tmp_path, monkeypatch, store):
    hurting(tmp_path, monkeypatch, "import time; time.sleep(1000)")
    reading = Reading()
    path = reading.receive(csv(), "t.csv")
    reading.ask("preview", path, "t.csv", "1")
    child = reading._process.pid
    half = store / "data" / f".writing-{child}-x"
    half.mkdir()
    assert reading.answer(0.2) is None and reading.under_way
    reading.cancel()
    assert not alive(child) and not half.exists() and path.exists()
    reading.close()
    assert not path.exists()


def test_a_reader_goes_with_whoever_asked(reading):
    other = Reading()
    path, child = other.receive(csv(), "t.csv"), other._process.pid
    del other
    gc.collect()
    assert not alive(child) and not path.parent.exists()
    process = reading._process
    process.stdin.close()  # as when the page's process was killed
    assert process.wait(timeout=20) == 0


def test_progress_is_told_in_words(reading, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 9, (100_000, 6))
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,d,e,label\n" + "\n".join(",".join(map(str, row)) for row in rows.tolist()))
    said, seen = reading._said, []

    class Heard:
        """Every message, where whoever looks now and then sees the latest only."""

        def get(self, timeout):
            message = said.get(timeout=timeout)
            seen.extend([message] if "told" in message else [])
            return message

    monkeypatch.setattr(reading, "_said", Heard())
    reading.ask("check", path, "t.csv", "1", Options(target="label"))
    while (found := reading.answer(0.01)) is None:
        pass
    assert found.instances == 100_000
    shares, words = zip(*((message["share"], message["told"]) for message in seen), strict=True)
    assert list(shares) == sorted(shares) and shares[-1] < 1
    assert (reading.words, reading.share) == (words[-1], shares[-1])
    assert {"Reading the rows"} <= set(words) and any("column" in word for word in words)


def test_uploads_of_a_killed_page_are_swept_away(store):
    import subprocess

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = store / "data" / f".writing-{ended.pid}-x"
    left.mkdir(parents=True)
    mine = own.scratch()
    Store(store).sweep()
    assert not left.exists() and mine.exists() and own.kept() == []


def test_a_summary_is_small_and_plain():
    wide = summarise(importing.read(npz(x=np.random.default_rng(0).normal(size=(60, 300)), y=np.arange(60) % 2), "p.npz"))
    assert len(wide.columns) == COLUMNS + 1 and wide.left_out == 300 - COLUMNS and len(wide.rows) == 5
    many = {f"c{i:02}/{j}.png": content for i in range(20) for j, content in enumerate(list(folders().values())[:12])}
    found = summarise(importing.read(packed(many), "p.zip", Options(side=256)))
    assert len(found.pictures) == PICTURES and len(found.classes) == 20 and len(json.dumps(found.pictures)) < 100_000


def test_time_passes_only_while_something_is_under_way(reading, monkeypatch):
    monkeypatch.setattr(readings, "SILENT", 0.0)
    time.sleep(0.05)
    with pytest.raises(Cancelled):
        reading.answer()
