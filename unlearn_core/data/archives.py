"""Members of published archives, read by name into memory: nothing is ever unpacked to a path that an archive names."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from unlearn_core.errors import BadInput


def members(path: Path, wanted: re.Pattern, most_bytes: int) -> Iterator[tuple[re.Match, bytes]]:
    """Regular files of the gzipped tar archive `path` whose whole name matches `wanted`, with their contents, in the archive's order.

    Raises BadInput if the archive is broken, or if a wanted member is larger than `most_bytes`.
    """
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                named = wanted.fullmatch(member.name)
                if named is None or not member.isfile():
                    continue
                if member.size > most_bytes:
                    raise BadInput("file", f"{path.name} holds {member.name} with {member.size:,} bytes.", "Download it again.")
                yield named, archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        raise BadInput("file", f"{path.name} is broken or no gzipped tar archive.", "Download it again.") from None
