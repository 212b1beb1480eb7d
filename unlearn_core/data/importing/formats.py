"""CSV, TSV, Parquet and JSONL files as named columns."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any, BinaryIO

from unlearn_core.data.importing.source import Source, Tell, check_room, short
from unlearn_core.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 5000
MOST_ROWS = 5_000_000
LONGEST_NAME = 200  # characters of a column's name
LONGEST_LINE = 1 << 24  # bytes
LARGEST = 1e30  # beyond it, float32 sums overflow
CELL = 24  # bytes that a cell takes while it is read
CHECKED = 0.2  # share of the time after which a text is known to be one


def columns(source: Source, tell: Tell) -> list[tuple[str, pa.ChunkedArray]]:
    """Names and values: strings, or float64 with nulls as NaN."""
    table = {".parquet": _parquet, ".jsonl": _jsonl}.get(source.ending, _csv)(source, tell)
    names = _names(table.column_names)
    if not table.num_rows:
        raise BadInput("file", f"{source.name} has no rows.", "Give a table with a header and rows.")
    if table.num_rows > MOST_ROWS:
        raise BadInput("file", f"{source.name} has {table.num_rows:,} rows.", f"Give at most {MOST_ROWS:,}.")
    return list(zip(names, table.columns, strict=True))


def _names(raw: list[str]) -> list[str]:
    names = [name.strip() for name in raw]
    if len(names) > MOST_COLUMNS:
        raise BadInput("columns", f"the table has {len(names):,} columns.", f"Give at most {MOST_COLUMNS:,}.")
    if len(names) < 2:
        raise BadInput("columns", "the table has only one column.", "Give a target and at least one more column, separated by commas.")
    if not all(names):
        raise BadInput("columns", f"column {names.index('') + 1} has no name.", "Put the names of all columns into the first row.")
    if max(map(len, names)) > LONGEST_NAME:
        raise BadInput("columns", "a column's name is longer than a line of text.", "Put the names of all columns into the first row.")
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise BadInput("columns", f"two columns are called {short(twice)!r}.", "Give every column a name of its own.")
    return names


def _check_text(source: Source, tell: Tell) -> int:
    """The length of a byte order mark. Raises BadInput unless the file is text in UTF-8."""
    save = "Save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
    if source.head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadInput("encoding", f"{source.name} is saved as UTF-16.", save)
    decoder, at, line = codecs.getincrementaldecoder("utf-8")(), 0, 1
    with source.open() as content:
        while chunk := content.read(1 << 20):
            tell("Checking the text", CHECKED * at / source.size)
            if b"\0" in chunk:
                raise BadInput("encoding", f"{source.name} is not a text file.", save)
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                line += chunk[: error.start].count(b"\n")
                raise BadInput("encoding", f"line {line:,} of {source.name} is not UTF-8.", save) from None
            at, line = at + len(chunk), line + chunk.count(b"\n")
    if decoder.getstate()[0]:
        raise BadInput("encoding", f"{source.name} ends within a character of UTF-8.", "Give the whole file.")
    return len(codecs.BOM_UTF8) if source.head.startswith(codecs.BOM_UTF8) else 0


def _csv(source: Source, tell: Tell) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow

    skip = _check_text(source, tell)
    delimiter = "\t" if source.ending == ".tsv" else _delimiter(source.head[skip:])
    _check_header(source, source.head[skip:], delimiter)
    names = _names(_header(source.head[skip:], delimiter))
    try:
        with source.open() as content:
            content.seek(skip)
            table = arrow.read_csv(
                pa.PythonFile(_Followed(content, source.size, tell), mode="r"),
                arrow.ReadOptions(use_threads=False, block_size=LONGEST_LINE),
                arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                arrow.ConvertOptions(
                    column_types=dict.fromkeys(_header(source.head[skip:], delimiter), pa.string()), strings_can_be_null=False
                ),
            )
    except pa.ArrowInvalid as error:
        raise BadInput("file", _csv_problem(source, str(error)), "Give every row as many cells as the header, quoting commas.") from None
    if [name.strip() for name in table.column_names] != names:
        raise BadInput("columns", f"the first row of {source.name} cannot be read.", "Put plain names of the columns into the first row.")
    return table


class _Followed:
    """A file that tells how far it was read."""

    def __init__(self, content: BinaryIO, size: int, tell: Tell):
        self.content, self.size, self.told = content, size, tell

    def read(self, count: int = -1) -> bytes:
        self.told("Reading the rows", CHECKED + (1 - CHECKED) * self.content.tell() / self.size)
        return self.content.read(count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.content, name)


def _csv_problem(source: Source, message: str) -> str:
    found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", message)
    if found:
        return f"row {int(found[1]):,} of {source.name} has {found[3]} cells, the header {found[2]}."
    return f"{source.name} is not a table (an open quote or a line of more than {LONGEST_LINE >> 20} MB)."


def _header(head: bytes, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(head.decode("utf-8", "ignore"), newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []


def _delimiter(head: bytes) -> str:
    """The usual sign that splits the header into the most columns."""
    return max(",;\t|", key=lambda sign: len(_header(head, sign)))


def _check_header(source: Source, head: bytes, delimiter: str) -> None:
    names = _header(head, delimiter)
    numbers = sum(bool(re.fullmatch(r"\s*[-+]?\d+(\.\d+)?([eE][-+]?\d+)?\s*", name)) for name in names)
    if numbers and numbers >= len(names) - 1:
        raise BadInput(
            "columns", f"the first row of {source.name} holds values, not names.", "Put the names of the columns into the first row."
        )


def _parquet(source: Source, tell: Tell) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = BadInput("file", f"{source.name} is not a whole Parquet file.", "Save it again.")
    try:
        with source.open() as content:
            file = pq.ParquetFile(content, thrift_string_size_limit=10**8, thrift_container_size_limit=10**6)
            meta = file.metadata
            if meta.num_columns > MOST_COLUMNS or meta.num_rows > MOST_ROWS:
                raise BadInput(
                    "file",
                    f"{source.name} has {meta.num_rows:,} rows and {meta.num_columns:,} columns.",
                    f"Give at most {MOST_ROWS:,} rows and {MOST_COLUMNS:,} columns.",
                )
            check_room(meta.num_rows * meta.num_columns * CELL, source.name, 1)  # repeated values take no room in the file
            check_room(sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)), source.name)
            for column in file.schema_arrow:
                _check_type(column)
            parts = []
            for i in range(meta.num_row_groups):
                tell("Reading the rows", i / meta.num_row_groups)
                parts.append(file.read_row_group(i, use_threads=False))
            table = pa.concat_tables(parts) if parts else file.schema_arrow.empty_table()
        table.validate(full=True)
        return pa.table([_plain(column) for column in table.columns], names=table.column_names)
    except BadInput:
        raise
    except MemoryError:  # a broken one may claim any size
        raise BadInput(
            "file", f"{source.name} needs more memory than there is, or is broken.", "Give a part of it, or save it again."
        ) from None
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, UnicodeError):
        raise broken from None


def _check_type(column: pa.Field) -> None:
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    known = (
        types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_string, types.is_large_string,
        types.is_temporal, types.is_null,
    )  # fmt: skip
    if not any(is_kind(kind) for is_kind in known):
        raise BadInput(
            "columns", f"{short(column.name)!r} holds {short(kind)} values.", "Leave it out, or turn it into numbers or plain texts."
        )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if types.is_timestamp(kind) or types.is_date(kind):  # as days, so that it is a number with an order
        seconds = pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64())
        return pc.divide(pc.cast(seconds, pa.float64()), 86400.0)
    if types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind) or types.is_temporal(kind):
        return pc.cast(column, pa.string())
    return pc.cast(column, pa.float64(), safe=False)


def _jsonl(source: Source, tell: Tell) -> pa.Table:
    import pyarrow as pa

    skip = _check_text(source, tell)
    columns: dict[str, dict[int, str | None]] = {}  # by row, since lines may leave names out
    count = 0
    with source.open() as content:
        content.seek(skip)
        for number, line in enumerate(iter(lambda: content.readline(LONGEST_LINE), b""), 1):
            if not line.strip():
                continue
            if number % 1000 == 0:
                tell("Reading the lines", CHECKED + (1 - CHECKED) * content.tell() / source.size)
            for name, value in _record(line, number).items():
                columns.setdefault(name, {})[count] = value
            if len(columns) > MOST_COLUMNS:
                raise BadInput("columns", f"the lines have more than {MOST_COLUMNS:,} different names.", "Use the same names in all.")
            count += 1
    check_room(count * len(columns) * CELL, source.name, 1)
    return pa.table(
        {name: pa.chunked_array([pa.array(map(values.get, range(count)), pa.large_string())]) for name, values in columns.items()}
    )


def _record(line: bytes, number: int) -> dict[str, str | None]:
    """One line as plain values in text. Raises BadInput for anything but a flat object."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput("file", f"line {number:,} is not JSON.", 'Give one object a line, such as {"text": "…", "label": "…"}.') from None
    if not isinstance(found, dict):
        raise BadInput("file", f"line {number:,} is not an object.", 'Give one object a line, such as {"text": "…", "label": "…"}.')
    record = {}
    for name, value in found.items():
        if isinstance(value, (dict, list)):
            raise BadInput("columns", f"{short(name)!r} in line {number:,} holds a list or an object.", "Give plain values only.")
        if isinstance(value, float) and not abs(value) <= LARGEST and value == value:
            raise BadInput("columns", f"{short(name)!r} in line {number:,} holds {value}.", "Correct it, or leave it out.")
        text = None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        # JSON can spell half a surrogate pair, which UTF-8 cannot hold.
        record[name.encode("utf-8", "replace").decode()] = None if text is None else text.encode("utf-8", "replace").decode()
    return record
