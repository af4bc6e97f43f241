"""A Parquet file as columns of text, refused before what it unpacks to takes memory.

Three things in such a file unpack to more than it holds: a page that is compressed, a value that
stands once and is told again in many rows, and rows that are stored as one run. The metadata at the
file's end say how much, and can lie, so they are not believed: the header of each page says how
many bytes and values are in it, as pyarrow takes it, and a dictionary how long its longest value
is; so many rows are read at once as take `BATCH_BYTES` if each has that value, and what they come
to is added up before any is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

VALUE_BYTES = 8  # a row of any column takes as much, be it null
PAGE_BYTES = 64  # so that millions of empty pages, or one page listed a million times, end too
BATCH_BYTES = 2**26  # of values that pyarrow unpacks at once
DELTA_BYTE_ARRAY, MAX_DEPTH = 7, 12
CODECS = ("uncompressed", "snappy", "gzip", "lzo", "brotli", "lz4", "zstd", "lz4_raw")


class Bomb(Exception):
    """The file unpacks to more than it may."""


@dataclass(frozen=True)
class Page:
    """What the header of a page says, and of a dictionary its packed `data`; `is_delta`: values are
    told by how they differ.
    """

    n_bytes: int
    n_values: int
    is_delta: bool
    is_dictionary: bool
    data: bytes


def read_columns(
    data: bytes, *, max_bytes: int, part_rows: int
) -> tuple[list[str], Iterator[dict[str, list[object]]]]:
    """The names of the flat columns, and their values in parts of rows; nested ones are left out.

    Raises:
        Bomb: it unpacks to more than `max_bytes`.
        ValueError: a page's header can't be read, or two columns have one name.
        pyarrow.ArrowException, OSError: it is no Parquet file.
    """
    import pyarrow
    import pyarrow.parquet

    buffer = pyarrow.py_buffer(data)
    file = pyarrow.parquet.ParquetFile(buffer)
    columns = [file.schema.column(number) for number in range(len(file.schema))]
    flat = [
        number
        for number, column in enumerate(columns)
        if column.path == column.name and column.max_repetition_level == 0
    ]
    names = [columns[number].name for number in flat]
    for number in flat:  # pyarrow takes a name for that of all that is nested below it too
        path = columns[number].path
        if any(
            other.path == path or other.path.startswith(f"{path}.")
            for other in columns[:number] + columns[number + 1 :]
        ):
            raise ValueError(f"two columns have the name {path!r}")
    if not names:
        return names, iter(())
    rows, total = rows_at_once(data, file, flat, most=part_rows, max_bytes=max_bytes), 0
    for batch in file.iter_batches(rows, columns=names):
        total += sum(
            VALUE_BYTES * batch.num_rows + _unpacked(values).nbytes for values in batch.columns
        )
        if total > max_bytes:
            raise Bomb
    parts = file.iter_batches(
        rows, columns=names
    )  # again: Arrow is fast, and nothing of a bomb was kept
    return names, (
        {name: values.to_pylist() for name, values in zip(names, part.columns, strict=True)}
        for part in parts
    )


def rows_at_once(data: Any, file: Any, flat: list[int], *, most: int, max_bytes: int) -> int:
    """How many rows of some columns may be unpacked at once, so that they take `BATCH_BYTES`;
    `data` may be a memory map of the file.

    Raises:
        Bomb: its pages unpack to more than `max_bytes`.
        ValueError: a page's header can't be read.
    """
    return max(1, min(most, BATCH_BYTES // _widest_value(data, file, flat, max_bytes=max_bytes)))


def _unpacked(values: Any) -> Any:
    """An array that holds each value as often as it has rows: not out of a dictionary, nor as views
    of the same text.
    """
    import pyarrow

    types = pyarrow.types
    if isinstance(values, pyarrow.ExtensionArray):
        values = values.storage
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if types.is_string_view(values.type) or types.is_binary_view(values.type):
        values = values.cast(pyarrow.large_binary())
    return values


def _widest_value(data: bytes, file: Any, flat: list[int], *, max_bytes: int) -> int:
    """The most bytes that a value may take where it is told again in many rows; adds up the pages
    of all columns before that.
    """
    widest, total, groups = VALUE_BYTES, 0, _chunks(data)
    for number in flat:
        column, longest, is_delta = file.schema.column(number), 0, False
        for page, codec in _pages_of(data, groups, number):
            total += PAGE_BYTES + page.n_bytes + VALUE_BYTES * page.n_values
            if total > max_bytes:
                raise Bomb
            longest, is_delta = max(longest, page.n_bytes), is_delta or page.is_delta
            if page.is_dictionary and column.physical_type == "BYTE_ARRAY":
                widest = max(widest, _longest(page, codec))
        if (
            is_delta
        ):  # told by how it differs from the one before it, a value is at most as long as its page
            widest = max(widest, longest)
        if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
            widest = max(widest, column.length)
    return widest


def _longest(page: Page, codec: str) -> int:
    """The longest value of a dictionary: each stands behind its length, in 4 bytes."""
    import pyarrow

    if codec in ("lz4", "lzo"):  # the first is framed in one of two ways
        return page.n_bytes
    plain = codec == "uncompressed"
    values = (
        page.data
        if plain
        else pyarrow.Codec(codec).decompress(page.data, page.n_bytes, asbytes=True)
    )
    place, longest = 0, 0
    for _ in range(page.n_values):
        n_bytes = int.from_bytes(values[place : place + 4], "little")
        place += 4 + n_bytes
        longest = max(longest, n_bytes)
        if place >= len(values):
            break
    return min(longest, len(values))


def _chunks(data: bytes) -> list[list[dict[int, Any]]]:
    """What the metadata at the file's end say of each column, by row group; pyarrow ends the
    process where it can't read such an entry.
    """
    end = len(data) - 8
    if end < 0 or data[-4:] != b"PAR1":
        raise ValueError("it does not end as one")
    metadata, _ = _read_struct(data, max(0, end - int.from_bytes(data[end : end + 4], "little")))
    try:
        return [[chunk[3] for chunk in group[1]] for group in metadata[4]]
    except (KeyError, TypeError) as error:
        raise ValueError("its metadata name no columns") from error


def _pages_of(
    data: bytes, groups: list[list[dict[int, Any]]], number: int
) -> Iterator[tuple[Page, str]]:
    """The pages of a column in all row groups, with how they are packed; pyarrow reads none where
    there are no values by the metadata.
    """
    for group in groups:
        codec, n_values, n_bytes, start, dictionary = _numbers(group, number)
        if 0 < dictionary < start:
            start = dictionary
        for page in _pages(data, start, start + n_bytes) if n_values > 0 else ():
            yield page, CODECS[codec]


def _numbers(group: list[dict[int, Any]], number: int) -> list[int]:
    """Of a column in a row group: how it is packed, how many values and bytes it has, where it
    begins, where its dictionary does or 0.
    """
    chunk = group[number] if number < len(group) else None
    found: list[Any] = (
        [chunk.get(field, 0 if field == 11 else None) for field in (4, 5, 7, 9, 11)]
        if isinstance(chunk, dict)
        else [None]
    )
    if not all(isinstance(value, int) for value in found) or not 0 <= found[0] < len(CODECS):
        raise ValueError("the metadata of a column are broken")
    return found


def _pages(data: bytes, start: int, end: int) -> Iterator[Page]:
    """The pages between two places in the file, by their headers:
    https://parquet.apache.org/docs/file-format/data-pages.
    """
    if not 0 <= start <= end <= len(data):
        raise ValueError("a column lies outside the file")
    place = start
    while place < end:
        header, place = _read_struct(data, place)
        inner = [
            part for part in (header.get(5), header.get(7), header.get(8)) if isinstance(part, dict)
        ]
        sizes = [header.get(2), header.get(3), *(part.get(1) for part in inner)]
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise ValueError("the header of a page has no sizes")
        yield Page(
            n_bytes=header[2],
            n_values=max((part[1] for part in inner), default=0),
            is_delta=any(DELTA_BYTE_ARRAY in (part.get(2), part.get(4)) for part in inner),
            is_dictionary=7 in header,
            data=data[place : place + header[3]] if 7 in header else b"",
        )
        place += header[3]


def _read_struct(data: bytes, place: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A structure of Thrift's compact protocol: its values by the number of their field, and where
    it ends.
    """
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head, place = _byte(data, place), place + 1
        if head == 0:
            return fields, place
        if head >> 4:
            number += head >> 4
        else:
            number, place = _varint(data, place)
            number = (number >> 1) ^ -(number & 1)
        if head & 15 not in (1, 2):  # true and false have no bytes
            fields[number], place = _read_value(data, place, head & 15, depth)


def _read_value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    """A number, a list or a structure; None for another."""
    if kind in (4, 5, 6):
        value, place = _varint(data, place)
        value &= 0xFFFFFFFF if kind == 5 else 0xFFFFFFFFFFFFFFFF  # as pyarrow cuts it
        return (value >> 1) ^ -(value & 1), place
    if kind in (1, 2, 3, 7):
        return None, place + (8 if kind == 7 else 1)
    if kind == 8:
        n_bytes, place = _varint(data, place)
        return None, place + n_bytes
    if kind in (9, 10) and depth < MAX_DEPTH:
        return _read_list(data, place, depth + 1)
    if kind == 12 and depth < MAX_DEPTH:
        return _read_struct(data, place, depth + 1)
    raise ValueError("it holds values of no kind")


def _read_list(data: bytes, place: int, depth: int) -> tuple[list[Any], int]:
    head, place = _byte(data, place), place + 1
    n_items, items = head >> 4, []
    if n_items == 15:
        n_items, place = _varint(data, place)
    for _ in range(n_items):
        _byte(data, place)  # each takes one at least
        item, place = _read_value(data, place, head & 15, depth)
        items.append(item)
    return items, place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte, place = _byte(data, place), place + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("it holds a number without an end")


def _byte(data: bytes, place: int) -> int:
    if place >= len(data):
        raise ValueError("its metadata are cut off")
    return data[place]
