"""Finding and downloading files: against a server of our own, with every way in which a transfer can go wrong."""

import hashlib
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.data import files
from unlearn_core.data.files import File, fetch, find, missing
from unlearn_core.errors import BadInput, Cancelled

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT. A path tells how: /whole, /no-ranges, /breaks (once, after a part), /wrong; anything else is 404."""

    def __init__(self, seen, *args):
        self.seen = seen
        super().__init__(*args)

    def do_GET(self):
        asked = self.headers.get("Range")
        self.seen.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.path != "/no-ranges" else 0
        if self.path not in ("/whole", "/no-ranges", "/breaks", "/wrong"):
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = (b"wrong" + CONTENT[5:] if self.path == "/wrong" else CONTENT)[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        broken = self.path == "/breaks" and not asked
        self.wfile.write(body[: 1_000_000 if broken else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    seen = []
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, seen))
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    running.seen = seen
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("UNLEARN_DATA_DIR", raising=False)
    monkeypatch.delenv("UNLEARN_OFFLINE", raising=False)
    return tmp_path / "cache"


def file(server, *ways) -> File:
    base = f"http://127.0.0.1:{server.server_address[1]}"
    return File("set/part.bin", 3.0, tuple((f"{base}/{way}", SHA256) for way in ways))


def test_a_file_is_downloaded_once_and_checked(server, cache):
    wanted, told = file(server, "whole"), []
    assert missing([wanted]) == (wanted,)
    path = find(wanted, told.append)
    assert path == cache / "set" / "part.bin" and path.read_bytes() == CONTENT
    assert told == sorted(told) and told[-1] == 1.0 and len(told) > 3
    assert find(wanted) == path and missing([wanted]) == () and len(server.seen) == 1
    assert [p.name for p in path.parent.iterdir()] == ["part.bin"]


def test_the_given_folder_comes_first_and_is_never_written(server, tmp_path, monkeypatch):
    given = tmp_path / "given"
    (given / "set").mkdir(parents=True)
    (given / "set" / "part.bin").write_bytes(CONTENT)
    monkeypatch.setenv("UNLEARN_DATA_DIR", str(given))
    assert find(file(server, "whole")) == given / "set" / "part.bin" and not server.seen
    (given / "set" / "part.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(BadInput, match="is not the published file"):
        find(file(server, "whole"))
    assert (given / "set" / "part.bin").read_bytes() == CONTENT[:-1] and not server.seen


def test_a_spoiled_file_in_the_cache_is_fetched_again(server, cache):
    (cache / "set").mkdir(parents=True)
    (cache / "set" / "part.bin").write_bytes(b"spoiled")
    assert find(file(server, "whole")).read_bytes() == CONTENT


def test_a_broken_transfer_is_resumed(server, cache):
    wanted = file(server, "breaks")
    with pytest.raises(BadInput, match="could not be downloaded"):
        find(wanted)
    assert not (cache / "set" / "part.bin").exists()
    assert find(wanted).read_bytes() == CONTENT
    (_, first), (_, second) = server.seen
    assert first is None and 500_000 < int(second.removeprefix("bytes=").removesuffix("-")) <= 1_000_000


def test_a_cancelled_download_is_resumed(server):
    def stop(fraction):
        if fraction > 0.4:
            raise Cancelled

    wanted = file(server, "whole")
    with pytest.raises(Cancelled):
        find(wanted, stop)
    assert find(wanted).read_bytes() == CONTENT
    assert int(server.seen[-1][1].removeprefix("bytes=").removesuffix("-")) > 1_000_000


def test_a_server_without_ranges_sends_all_again(server, cache):
    wanted = file(server, "no-ranges")
    part = cache / "set" / f".part.bin.{SHA256[:8]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    assert find(wanted).read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more"])
def test_a_finished_or_too_long_part_is_settled(server, cache, left):
    wanted = file(server, "whole")
    part = cache / "set" / f".part.bin.{SHA256[:8]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    if left != CONTENT:
        with pytest.raises(BadInput, match="not the published file"):
            find(wanted)
    assert find(wanted).read_bytes() == CONTENT


def test_other_addresses_are_tried(server):
    assert find(file(server, "gone", "wrong", "whole")).read_bytes() == CONTENT
    assert [path for path, _ in server.seen] == ["/gone", "/wrong", "/whole"]


@pytest.mark.parametrize(("way", "words"), [("gone", "answered 404"), ("wrong", "not the published file")])
def test_a_failed_download_says_why_and_what_to_do(server, cache, way, words):
    with pytest.raises(BadInput, match=words) as caught:
        find(file(server, way))
    assert caught.value.field == "dataset"
    assert str(cache / "set") in caught.value.fix and "UNLEARN_DATA_DIR" in caught.value.fix and "part.bin" in caught.value.fix
    assert not (cache / "set" / "part.bin").exists()


def test_offline_is_said_plainly(server, monkeypatch):
    wanted = file(server, "whole")
    server.shutdown()
    server.server_close()
    with pytest.raises(BadInput, match="could not be downloaded: no connection"):
        find(wanted)
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    with pytest.raises(BadInput, match="UNLEARN_OFFLINE forbids"):
        find(wanted)
    with pytest.raises(BadInput, match="not offered for download"):
        monkeypatch.delenv("UNLEARN_OFFLINE")
        find(File("set/part.bin", 3.0, (("", SHA256),)))


def test_fetching_several_files_reports_one_progress(server, tmp_path):
    base = f"http://127.0.0.1:{server.server_address[1]}"
    several = [File(f"set/{name}", size, ((f"{base}/whole", SHA256),)) for name, size in (("a", 1.0), ("b", 3.0))]
    told = []
    fetch(several, told.append)
    assert told == sorted(told) and told[-1] == pytest.approx(1.0)
    assert any(fraction == pytest.approx(0.25) for fraction in told)
    fetch(several, lambda fraction: pytest.fail("nothing was missing"))


def test_a_full_disk_is_said(server, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(BadInput, match="No space left on device"):
        find(file(server, "whole"))


@pytest.mark.parametrize("name", [name for name, info in data.registry().items() if info.files])
def test_every_declared_file_is_pinned(name):
    info = data.info(name)
    for declared in info.files:
        assert len(Path(declared.path).parts) == 2 and not Path(declared.path).is_absolute() and declared.megabytes > 0
        assert all(len(sha256) == 64 and set(sha256) <= set("0123456789abcdef") for _, sha256 in declared.sources)
        assert all(address.startswith(("https://", "http://")) for address, _ in declared.addresses)
        # An address without protection is no risk where the content is pinned, but two files must not share a pin.
    assert len({sha256 for f in info.files for sha256 in f.hashes}) >= len(info.files)
    assert info.licence and info.citation
