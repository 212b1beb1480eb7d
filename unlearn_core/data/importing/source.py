"""A file that a person gave, and how much of one this machine can take in."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from unlearn_core.errors import BadInput

MOST_BYTES = 1_000_000_000
GROWTH = 8  # how often the size of a file is needed while it is read
SHORT = 60  # characters of a name or value that a message repeats

Tell = Callable[[str, float], None]  # what is being done, in words, and how far it is, 0..1; may raise to stop


def silent(words: str, share: float) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Source:
    """content: the bytes, or where they lie. Only made by `of`, which checks the size before anything is read."""

    name: str
    content: bytes | Path

    @classmethod
    def of(cls, content: bytes | Path | str, filename: str = "") -> Source:
        """Raises BadInput if there is no such file, if it is empty or too large for this machine."""
        path = None if isinstance(content, bytes) else Path(content)
        if path is not None and not path.is_file():
            raise BadInput("file", f"there is no file {str(path)!r}.", "Give the path of a file or of a folder of class folders.")
        source = cls(short(Path(filename or (path.name if path else "file")).name), content if path is None else path)
        if source.size == 0:
            raise BadInput("file", f"{source.name} is empty.", "Give a file with data in it.")
        check_room(source.size, source.name)
        return source

    @cached_property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @property
    def ending(self) -> str:
        return Path(self.name).suffix.lower()

    @cached_property
    def head(self) -> bytes:
        with self.open() as content:
            return content.read(1 << 20)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else open(self.content, "rb")


def check_room(size: int, name: str, growth: int = GROWTH) -> None:
    """Refuse what would not fit into the memory of this machine. size: bytes. Raises BadInput."""
    most = min(MOST_BYTES, available() // growth)
    if size > most:
        raise BadInput(
            "file",
            f"{name} holds {amount(size)}; this machine can take in about {amount(most)} now.",
            "Give a part of it, or close other programs.",
        )


def available() -> int:
    """Bytes of memory that can still be used, also within a container; a careful guess where the system does not say."""
    return min(_of_machine(), _of_container())


def _of_container(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """What a control group still allows, without the files that it only remembers; a petabyte where there is no limit."""
    try:
        most = int((groups / "memory.max").read_text(encoding="ascii"))  # "max" is no number
        remembered = next(int(line.split()[1]) for line in (groups / "memory.stat").open() if line.startswith("inactive_file "))
        return max(0, most - int((groups / "memory.current").read_text(encoding="ascii")) + remembered)
    except (OSError, ValueError, StopIteration):
        return 10**15


def _of_machine() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):
        return 4_000_000_000


def amount(size: int) -> str:
    """A number of bytes for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def short(value: object) -> str:
    """A name or value from a file, safe and short enough for a message."""
    text = "".join(sign if sign.isprintable() else "·" for sign in str(value)[: SHORT + 1])
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"
