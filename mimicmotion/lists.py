"""Lists that people write: CSV, Parquet or JSON lines, with columns found whatever their case and spaces."""

import csv
from collections import Counter
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Final

import pyarrow as pa

from mimicmotion.errors import InputError
from mimicmotion.names import column_name

LIST_SUFFIXES: Final = (".csv", ".parquet", ".jsonl")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS: Final = (",", ";", "\t")


def read_list(path: Path, columns: Sequence[str]) -> pa.Table:
    """The rows of a list, its columns in lower case and without spaces around.

    A CSV may be separated by commas, semicolons or tabs, be UTF-8 or UTF-16, and holds text only.

    Args:
        path: ``.csv``, ``.parquet`` or ``.jsonl``.
        columns: what is asked for; the first must be there, and none may be there twice or hold lists.

    Raises:
        InputError: it cannot be read, or its columns are not so.
    """
    from pyarrow import parquet

    try:
        match path.suffix.lower():
            case ".csv":
                table = _read_csv(path, columns[0])
            case ".parquet":
                table = parquet.read_table(path)
            case _:
                table = _read_jsonl(_text(path).encode())
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a list: {error}") from error
    written = ", ".join(table.column_names) or "none"
    counts = Counter(names := [column_name(name) for name in table.column_names])
    if columns[0] not in counts:
        raise InputError(f"{path} has no column {columns[0]}; it has {written}")
    for name in columns:
        if counts[name] > 1:
            raise InputError(
                f"{path} has {counts[name]} columns called {name}, whatever their case: {written}"
            )
        if name in counts and pa.types.is_nested(kind := table.schema.types[names.index(name)]):
            raise InputError(f"{path}: the column {name} holds {kind}; allowed is one text or number a row")
    return table.rename_columns(names)


def _read_jsonl(content: bytes) -> pa.Table:
    """The rows as they are written: Arrow takes a text such as 2024-01-01 for a time."""
    from pyarrow import json

    table = json.read_json(BytesIO(content))
    texts = [(field.name, pa.string()) for field in table.schema if pa.types.is_temporal(field.type)]
    options = json.ParseOptions(explicit_schema=pa.schema(texts))
    return json.read_json(BytesIO(content), parse_options=options) if texts else table


def _text(path: Path) -> str:
    """The text of a file in UTF-8 or, by its byte order mark, UTF-16."""
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path} is not {encoding.removesuffix('-sig').upper()}: its line {line} holds the byte "
            f"{content[error.start]:#04x}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(f"{path} holds zero bytes, as UTF-16 without its mark does; save it as UTF-8")
    return text


def _read_csv(path: Path, needed: str) -> pa.Table:
    text = _text(path)
    tables = [list(csv.reader(StringIO(text, newline=""), delimiter=mark)) for mark in _DELIMITERS]
    # The delimiter under which the needed column is found; where there is none, commas.
    rows = next((rows for rows in tables if rows and needed in map(column_name, rows[0])), tables[0])
    if not rows:
        raise InputError(f"{path} is empty")
    header, *lines = rows
    for number, line in enumerate(lines, start=2):
        if line and len(line) != len(header):
            raise InputError(
                f"{path}: row {number} has {len(line)} cells, but there are {len(header)} columns; put cells "
                "that hold a separator in quotes"
            )
    cells = zip(*(line for line in lines if line), strict=True)
    columns = list(cells) or [()] * len(header)
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], names=header)
