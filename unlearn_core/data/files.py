"""Files of downloaded datasets: found on this machine, or fetched once, checked and kept in the user's cache.

A file is looked for in the folder UNLEARN_DATA_DIR (the same folder and file names), then in the cache, and downloaded only if it is in
neither. A file with another content than the published one is never used. UNLEARN_OFFLINE=1 forbids any download.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from unlearn_core.errors import BadInput

Report = Callable[[float], None]
CHUNK = 1 << 18  # bytes
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces


@dataclass(frozen=True)
class File:
    """One file of a dataset.

    path: "folder/name" below UNLEARN_DATA_DIR and the cache. sources: (address, SHA-256) pairs, in the order to try; the same data may
    be published in several packings. An empty address means that the file is accepted but nobody offers it for download.
    megabytes: about how large it is.
    """

    path: str
    megabytes: float
    sources: tuple[tuple[str, str], ...]

    @property
    def hashes(self) -> frozenset[str]:
        return frozenset(sha256 for _, sha256 in self.sources)

    @property
    def addresses(self) -> tuple[tuple[str, str], ...]:
        return tuple(source for source in self.sources if source[0])


def cache_folder() -> Path:
    """Where downloads are kept: the user's cache, as the operating system names it."""
    import pooch

    return Path(pooch.os_cache("unlearning-studio")) / "data"


def given_folder() -> Path | None:
    """The folder that UNLEARN_DATA_DIR names, if it does."""
    named = os.environ.get("UNLEARN_DATA_DIR")
    return Path(named).expanduser() if named else None


def missing(files: Iterable[File]) -> tuple[File, ...]:
    """Those of `files` that would have to be downloaded. Looks at names only, so it is quick."""
    return tuple(file for file in files if not any((folder / file.path).is_file() for folder in _places()))


def fetch(files: Iterable[File], report: Report | None = None) -> None:
    """Download whatever is missing of `files`. `report` gets the fraction done, 0..1, and may raise to stop; the next call resumes.

    Raises BadInput when there is no connection, no published address, no room, or another content than the published one.
    """
    wanted = missing(files)
    total, before = sum(file.megabytes for file in wanted), 0.0
    for file in wanted:
        share, start = file.megabytes / total, before
        find(file, (lambda fraction, start=start, share=share: report(start + share * fraction)) if report else None)
        before += share


def find(file: File, report: Report | None = None) -> Path:
    """Where `file` lies on this machine, with its content checked; downloads it if need be. Raises BadInput as `fetch` does."""
    given = given_folder()
    if given and (given / file.path).is_file():
        path = given / file.path
        if not _matches(file, path):
            raise BadInput("dataset", f"{path} is not the published file.", "Replace or delete it, then try again.")
        return path
    path = cache_folder() / file.path
    if path.is_file():
        if _matches(file, path):
            return path
        path.unlink()
    return _download(file, path, report)


def _places() -> tuple[Path, ...]:
    given = given_folder()
    return (given, cache_folder()) if given else (cache_folder(),)


def _matches(file: File, path: Path) -> bool:
    known = path.stat()
    return _hash(path, known.st_size, known.st_mtime_ns) in file.hashes


@cache
def _hash(path: Path, size: int, changed: int) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _download(file: File, path: Path, report: Report | None) -> Path:
    import pooch
    import requests

    by_hand = f"Put the file {path.name} into the folder {path.parent}, or set UNLEARN_DATA_DIR to a folder that holds {file.path}."
    if os.environ.get("UNLEARN_OFFLINE") == "1":
        raise BadInput("dataset", f"{file.path} is not on this machine, and UNLEARN_OFFLINE forbids downloads.", by_hand)
    if not file.addresses:
        raise BadInput("dataset", f"{file.path} is not on this machine and is not offered for download.", by_hand)
    problem = ""
    for address, sha256 in file.addresses:
        try:
            pooch.retrieve(address, f"sha256:{sha256}", path.name, path.parent, downloader=_Resuming(path, sha256, report))
            return path
        except requests.HTTPError as error:
            problem = f"the server answered {error.response.status_code}"
        except (requests.ConnectionError, requests.Timeout):
            problem = "no connection"
        except requests.RequestException as error:
            problem = f"the transfer broke off ({type(error).__name__})"
        except ValueError:
            problem = "what came is not the published file"
        except OSError as error:
            raise BadInput("dataset", f"{file.path} could not be saved: {error.strerror}.", f"Make room in {path.parent}.") from None
    raise BadInput("dataset", f"{file.path} could not be downloaded: {problem}.", by_hand)


class _Resuming:
    """A downloader for pooch that goes on where a broken transfer stopped. pooch checks the hash and moves the file to its place."""

    def __init__(self, path: Path, sha256: str, report: Report | None):
        self.part = path.with_name(f".{path.name}.{sha256[:8]}.part")
        self.report = report

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests

        done = self.part.stat().st_size if self.part.exists() else 0
        # A packed file must arrive packed: "identity" keeps servers and requests from unpacking it on the way.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # nothing is left behind what we have
                os.replace(self.part, output_file)
                return
            answer.raise_for_status()
            if answer.status_code != 206:
                done = 0
            total = done + int(answer.headers.get("Content-Length", 0))
            with open(self.part, "ab" if done else "wb") as part:
                for chunk in answer.iter_content(CHUNK):
                    part.write(chunk)
                    done += len(chunk)
                    if self.report:
                        self.report(min(done / total, 1.0) if total else 0.0)
        os.replace(self.part, output_file)
