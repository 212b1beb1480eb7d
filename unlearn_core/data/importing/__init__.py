"""One's own data: read, checked and described before anything is kept.

`preview` says which columns a table has, `read` turns a file (or a folder of pictures) into an `Imported`, and `data.own.save` keeps it.
Whatever cannot be used is refused by a BadInput that names the field and the fix; nothing in a file is ever executed.
A page reads in a process of its own (`runs.reading`), since a file from a stranger may use up the memory or hang a reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unlearn_core.data.importing import arrays, pictures, records
from unlearn_core.data.importing.imported import Imported, Options, finish
from unlearn_core.data.importing.records import ColumnInfo
from unlearn_core.data.importing.source import Source, Tell, silent
from unlearn_core.errors import BadInput

__all__ = ["ENDINGS", "KINDS", "ColumnInfo", "Imported", "Opened", "Options", "preview", "read"]

_TABLES = (".csv", ".tsv", ".parquet", ".jsonl")
_READERS: dict[str, Callable[[Source, Options, Tell], Imported]] = {
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".zip": pictures.read_zip,
}
ENDINGS = (*_TABLES, *_READERS)
KINDS = "CSV, TSV, Parquet, JSONL, NPY, NPZ, or a zip of one folder of pictures for each class"
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".p", ".pck")
_ARCHIVES = (".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
READ = 0.8  # share of the time that reading takes, before duplicates are looked for


class Opened:
    """A file or folder whose contents are read once, however often it is asked about.

    content: the bytes, or the path of a file or of a folder of class folders of pictures. filename: the name, whose ending says what it is;
    taken from a path if not given. Raises BadInput if there is nothing to read, or nothing of a known kind.
    """

    def __init__(self, content: bytes | Path | str, filename: str = ""):
        folder = None if isinstance(content, bytes) else Path(content)
        self.folder = folder if folder and folder.is_dir() else None
        self.source = None if self.folder else _known(Source.of(content, filename))
        self._table: records.Table | None = None
        self._raw: tuple[Options, Imported] | None = None

    @property
    def is_table(self) -> bool:
        return self.source is not None and self.source.ending in _TABLES

    def preview(self, tell: Tell = silent) -> tuple[ColumnInfo, ...]:
        """The columns of a table (CSV, TSV, Parquet, JSONL), for choosing the target; empty for other kinds of files. Raises BadInput."""
        return records.preview(self._columns(tell)) if self.is_table else ()

    def read(self, options: Options, tell: Tell = silent) -> Imported:
        """The instances, checked. Raises BadInput."""
        asked = replace(options, title="", drop_duplicates=False, drop_small=False)  # the others matter only once everything is read
        if self._raw is None or self._raw[0] != asked:
            self._raw = None  # two at once may not fit
            self._raw = asked, self._read(asked, lambda words, share: tell(words, READ * share))
        return finish(self._raw[1], options, lambda words, share: tell(words, READ + (1 - READ) * share))

    def _read(self, options: Options, tell: Tell) -> Imported:
        if self.folder:
            return pictures.read_folder(self.folder, options, tell)
        if self.is_table:
            return records.read(self._columns(tell), Path(self.source.name).stem, options)
        return _READERS[self.source.ending](self.source, options, tell)

    def _columns(self, tell: Tell) -> records.Table:
        if self._table is None:
            self._table = records.table(self.source, tell)
        return self._table


def read(content: bytes | Path | str, filename: str = "", options: Options = Options(), tell: Tell = silent) -> Imported:  # noqa: B008 (frozen)
    """The instances in a file (its bytes or its path), or in a folder of class folders of pictures; see `Opened`. Raises BadInput."""
    return Opened(content, filename).read(options, tell)


def preview(content: bytes | Path | str, filename: str = "") -> tuple[ColumnInfo, ...]:
    """The columns of a table; see `Opened`. Raises BadInput."""
    return Opened(content, filename).preview()


def _known(source: Source) -> Source:
    """The same file. Raises BadInput unless it is of a kind that is read here."""
    if source.ending in _PICKLES or source.head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise BadInput(
            "file", f"{source.name} may hold a Python pickle, which can run any program.", "Save the data as NPZ, CSV or Parquet instead."
        )
    if source.ending in _ARCHIVES:
        raise BadInput("file", f"{source.name} is an archive of another kind.", "Unpack it, or pack the folder of pictures as a zip file.")
    if source.ending not in ENDINGS:
        raise BadInput("file", f"files ending in {source.ending or 'nothing'} are not known.", f"Give {KINDS}.")
    return source
