"""One's own data: read, checked and described before anything is kept.

`preview` says which columns a table has, `read` turns a file (or a folder of pictures) into an `Imported`, and `data.own.save` keeps it.
Whatever cannot be used is refused by a BadInput that names the field and the fix; nothing in a file is ever executed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unlearn_core.data.files import Report
from unlearn_core.data.importing import arrays, pictures, records
from unlearn_core.data.importing.imported import Imported, Options
from unlearn_core.data.importing.records import ColumnInfo
from unlearn_core.data.importing.source import Source
from unlearn_core.errors import BadInput

__all__ = ["ENDINGS", "ColumnInfo", "Imported", "Options", "preview", "read"]

_READERS: dict[str, Callable[[Source, Options], Imported]] = {
    ".csv": records.read,
    ".tsv": records.read,
    ".parquet": records.read,
    ".jsonl": records.read,
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".zip": pictures.read_zip,
}
ENDINGS = tuple(_READERS)
KINDS = "CSV, TSV, Parquet, JSONL, NPY, NPZ, or a zip of one folder of pictures for each class"
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".p", ".pck")
_ARCHIVES = (".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")


def read(
    content: bytes | Path | str,
    filename: str = "",
    options: Options = Options(),  # noqa: B008 (frozen)
    report: Report | None = None,
) -> Imported:
    """The instances in a file (its bytes or its path), or in a folder of class folders of pictures.

    filename: its name, whose ending says what it is; taken from a path if not given. report: gets the fraction done of many pictures,
    0..1, and may raise to stop. Raises BadInput.
    """
    if not isinstance(content, bytes):
        path = Path(content)
        if path.is_dir():
            return pictures.read_folder(path, options, report)
    source = Source.of(content, filename)
    reader = _reader(source)
    return pictures.read_zip(source, options, report) if reader is pictures.read_zip else reader(source, options)


def preview(content: bytes | Path | str, filename: str = "") -> tuple[ColumnInfo, ...]:
    """The columns of a table (CSV, TSV, Parquet, JSONL), for choosing the target; empty for other kinds of files. Raises BadInput."""
    if not isinstance(content, bytes) and Path(content).is_dir():
        return ()
    source = Source.of(content, filename)
    return records.preview(source) if _reader(source) is records.read else ()


def _reader(source: Source) -> Callable[[Source, Options], Imported]:
    if source.ending in _PICKLES or source.head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise BadInput(
            "file", f"{source.name} may hold a Python pickle, which can run any program.", "Save the data as NPZ, CSV or Parquet instead."
        )
    if source.ending in _ARCHIVES:
        raise BadInput("file", f"{source.name} is an archive of another kind.", "Unpack it, or pack the folder of pictures as a zip file.")
    if source.ending not in _READERS:
        raise BadInput("file", f"files ending in {source.ending or 'nothing'} are not known.", f"Give {KINDS}.")
    return _READERS[source.ending]
