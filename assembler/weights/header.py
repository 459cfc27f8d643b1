"""The head of a safetensors file, read and judged without torch: what tensors it says it holds, and whether that can be true.

The format: 8 bytes (little-endian) say how long the JSON head is; it maps names to dtype, shape and
the bytes of the data behind it. What cannot be true of any file that a library wrote is refused
before anything is allocated or mapped; nothing here grows with what a file claims.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from assembler.facts.weights import shape_text

MAX_HEADER = 6 * 2**20
"""Bytes: some forty thousand entries of usual length. Reading the worst that fits takes under 0.2 s."""
MAX_ENTRIES = 40_000
SPARE_BRACES = 1_000
"""That metadata may hold, beside one for each tensor."""
MAX_NAME = 512
MAX_AXES = 32
SIZES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one element."""
PICKLES = frozenset([".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".npy", ".npz", ".joblib"])
_MAGIC = ((b"PK\x03\x04", "a zip file, as torch.save writes"), (b"\x80", "a pickle"), (b"\x93NUMPY", "a NumPy file"), (b"\x89HDF", "an HDF5 file"), (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself: git lfs pull"), (b"<", "a page of HTML or XML"))  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\Z")


class WeightsError(ValueError):
    """Weights that are not loaded. The text says why, and what to do."""


class Entry(NamedTuple):
    """One tensor of a file."""

    dtype: str
    """As safetensors spells it: `F32`, `BF16`."""
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the start of the data."""
    end: int


class Header(NamedTuple):
    """What a file says of itself, and what is true of its size."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    start: int
    """Of the data, in bytes from the start of the file."""
    size: int
    """Of the whole file, in bytes."""


def read_header(path: str | os.PathLike[str]) -> Header:
    """The head of a file. WeightsError for anything but a whole, consistent safetensors file; FileNotFoundError."""
    place = os.fspath(path)
    where = printable(place)
    _not_a_pickle(place, where)
    try:
        # Asked before it is opened: opening a pipe would wait for a writer, opening a device may act.
        info = os.stat(place)
        if not stat.S_ISREG(info.st_mode):
            raise WeightsError(f"{where} is a folder, a pipe or a device; name the safetensors file itself")
        with open(place, "rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size, where)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {where}") from None
    except OSError as problem:
        raise WeightsError(f"{where} cannot be read: {problem.strerror}") from problem


def _not_a_pickle(place: str, where: str) -> None:
    suffix = os.path.splitext(place)[1].lower()
    if suffix in PICKLES:
        raise WeightsError(
            f"{where} is a pickle by its name, and reading a pickle can run what is inside; "
            f"`assembler convert {printable(os.path.basename(place))} -o {printable(os.path.splitext(os.path.basename(place))[0])}.safetensors` "
            "reads it as bare tensors and writes a file that can only be data"
        )


def _read(file: BinaryIO, size: int, where: str) -> Header:
    head = file.read(32)
    for magic, what in _MAGIC:
        if head.startswith(magic) and not head[8:9] == b"{":
            raise WeightsError(f"{where} is no safetensors file but looks like {what}; `assembler convert` reads what torch.save wrote")
    if len(head) < 8:
        raise WeightsError(f"{where} is no safetensors file: it has {size} bytes; was it cut off? fetch or save it again")
    length = int.from_bytes(head[:8], "little")
    if length > size - 8:
        raise WeightsError(f"{where} is cut off or no safetensors file: its head should be {length:,} bytes long, the file has {size:,}; fetch or save it again")
    if length > MAX_HEADER:
        raise WeightsError(f"the head of {where} is {length:,} bytes long; more than {MAX_HEADER:,} are not read: keep its tensors in several files")
    file.seek(8)
    text = file.read(length)
    if text.count(b"{") > MAX_ENTRIES + SPARE_BRACES:
        raise WeightsError(f"{where} holds more than {MAX_ENTRIES:,} tensors; keep them in several files")
    entries, metadata = _entries(strict_json(text, f"the head of {where}"), where)
    _fill(entries, size - 8 - length, where)
    return Header(entries, metadata, 8 + length, size)


def strict_json(text: bytes, what: str, floats: bool = False) -> dict[str, Any]:
    """A mapping in JSON as strangers write it: no key twice, nothing deeper than Python's own reader goes. `what` names it."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            seen: set[str] = set()
            twice = next(name for name, _ in found if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise WeightsError(f"{what} names `{printable(twice)}` twice; save it again")
        return made

    def refuse(number: str) -> Any:
        raise WeightsError(f"{what} holds `{printable(number)}`, where no such number can stand; save it again")

    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=pairs, parse_float=float if floats else refuse, parse_constant=refuse)
    except RecursionError:
        raise WeightsError(f"{what} is nested deeper than anything that we write") from None
    except UnicodeDecodeError:
        raise WeightsError(f"{what} is not UTF-8: it is damaged, or something else") from None
    except json.JSONDecodeError as problem:
        raise WeightsError(f"{what} is no JSON ({problem.msg} at character {problem.pos}): it is damaged, or something else") from None
    except ValueError as problem:
        if isinstance(problem, WeightsError):
            raise
        raise WeightsError(f"{what} holds a number of thousands of digits: it is damaged, or something else") from None
    if not isinstance(found, dict):
        raise WeightsError(f"{what} is no mapping of names: it is something else")
    return found


def _entries(found: dict[str, Any], where: str) -> tuple[dict[str, Entry], dict[str, str]]:
    metadata = found.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError(f"the metadata of {where} is no mapping of texts")
    return {name: _entry(name, value, where) for name, value in found.items()}, metadata


def _entry(name: str, value: Any, where: str) -> Entry:
    wrong = bad_name(name)
    if wrong:
        raise WeightsError(f"{where} holds a tensor called `{printable(name)}`: {wrong}")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"`{printable(name)}` in {where} is not described by dtype, shape and data_offsets: it is no safetensors file")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise WeightsError(f"`{printable(name)}` in {where} has the dtype `{printable(str(dtype))}`; known are {', '.join(SIZES)}")
    if not _whole_numbers(shape, MAX_AXES) or 0 in shape:
        raise WeightsError(f"`{printable(name)}` in {where} has no shape of at most {MAX_AXES} positive sizes")
    if not _whole_numbers(offsets, 2) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise WeightsError(f"`{printable(name)}` in {where} does not say from where to where its data go")
    begin, end = offsets
    # Python's integers do not overflow, and MAX_AXES bounds how long the product is.
    needed = math.prod(shape) * SIZES[dtype]
    if needed != end - begin:
        raise WeightsError(f"`{printable(name)}` in {where} is {dtype} {shape_text(shape)}, {_bytes(needed)}, but has {_bytes(end - begin)} of data; save it again")
    return Entry(dtype, tuple(shape), begin, end)


def _whole_numbers(value: Any, most: int) -> bool:
    return isinstance(value, list) and len(value) <= most and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _fill(entries: Mapping[str, Entry], data: int, where: str) -> None:
    """Tensors lie one behind another, from the first byte of the data to the last."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].begin):
        if entry.begin != at:
            what = "overlap" if entry.begin < at else "leave a gap"
            raise WeightsError(f"the data of {where} {what} where `{printable(name)}` begins (byte {entry.begin:,}, expected {at:,}); save it again")
        at = entry.end
    if at != data:
        what = "is cut off" if at > data else "has more behind its data"
        raise WeightsError(f"{where} {what}: its tensors take {at:,} bytes, there are {data:,}; fetch or save it again")


def bad_name(name: str) -> str:
    """What is wrong with the name of a tensor; empty if nothing."""
    if len(name) > MAX_NAME:
        return f"a name has at most {MAX_NAME} characters, this one {len(name):,}"
    if _NAME.match(name) is None:
        return "a name is letters, digits, _ and -, in parts joined by dots"
    if any(part.startswith("__") and part.endswith("__") for part in name.split(".")):
        return "names like __this__ are Python's own"
    return ""


def printable(text: str) -> str:
    """A text of strangers, so that it steers no terminal: what is not printable ASCII is escaped, what is long is cut."""
    head = text if len(text) <= 120 else f"{text[:100]}... ({len(text):,} characters)"
    return head if head.isascii() and head.isprintable() else ascii(head)


def _bytes(number: int) -> str:
    return f"{number:,} bytes" if number < 2**64 else "more bytes than there are addresses"


__all__ = ["Entry", "Header", "WeightsError", "bad_name", "printable", "read_header", "strict_json"]
