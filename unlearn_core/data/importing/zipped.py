"""Zip archives from strangers: looked through before anything is unpacked, and only ever unpacked into memory."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO

from unlearn_core.data.importing.source import Source, amount, check_room, short
from unlearn_core.errors import BadInput

MOST_MEMBERS = 300_000
BOMB_RATIO = 100  # unpacked size over packed size; pictures and numbers pack far less well
HARMLESS = 50_000_000  # bytes that any archive may unpack to
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError, KeyError, OverflowError)


def open_zip(source: Source, content: BinaryIO, growth: int) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """The archive and its files. Raises BadInput if it is none, or could unpack to more than fits, to another place, or to a link.

    growth: how often the unpacked size is needed while it is read.
    """
    try:
        archive = zipfile.ZipFile(content)
        files = [member for member in archive.infolist() if not member.filename.endswith("/")]
    except BROKEN:
        raise BadInput("file", f"{source.name} is not a whole zip archive.", "Pack it again.") from None
    if not files:
        raise BadInput("file", f"{source.name} is an empty archive.", "Pack one folder of pictures for each class.")
    if len(files) > MOST_MEMBERS:
        raise BadInput("file", f"{source.name} holds {len(files):,} files.", f"Give at most {MOST_MEMBERS:,}.")
    for member in files:
        _check(member)
    total = sum(member.file_size for member in files)
    if total > HARMLESS and total > BOMB_RATIO * source.size:
        raise BadInput(
            "file", f"{source.name} would unpack from {amount(source.size)} to {amount(total)}.", "Pack it without such filling."
        )
    check_room(total, f"{source.name}, unpacked,", growth)
    return archive, files


def _check(member: zipfile.ZipInfo) -> None:
    name = short(member.filename)
    parts = PurePosixPath(member.filename).parts
    if not parts:
        raise BadInput("file", f"a member of the archive has no name ({name!r}).", "Pack a folder with plain names.")
    if member.filename.startswith("/") or ".." in parts or "\\" in member.filename or ":" in parts[0]:
        raise BadInput("file", f"the member {name!r} points outside of its archive.", "Pack a folder with plain names.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise BadInput("file", f"the member {name!r} is a link.", "Pack the file itself.")
    if member.flag_bits & 1:
        raise BadInput("file", f"the member {name!r} needs a password.", "Pack it without one.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadInput("file", f"the member {name!r} is packed in an unusual way.", "Pack it with the usual method (deflate).")
