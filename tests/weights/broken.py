"""Files that are no weights: each with what must be said of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 2**20


def entry(count: int, dtype: str = "F32", begin: int = 0) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [count], "data_offsets": [begin, begin + 4 * count]}


def file(head: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _one(name: str) -> bytes:
    return file({name: entry(1)}, b"0000")


def _raw(shape: bytes) -> bytes:
    return file(b'{"a":{"dtype":"F32","data_offsets":[0,4],"shape":' + shape + b"}}", b"0000")


HEADS: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "nothing": (b"", "it has 0 bytes"),
    "length of 2 to the 63": (file({}, length=2**63), "should be 9,223,372,036,854,775,808 bytes long"),
    "length beyond the file": (file({}, length=50), "cut off"),
    "head of seven megabytes": (lambda: file(b" " * (7 * MIB)), "more than 6,291,456 are not read"),
    "hundred thousand entries": (lambda: file(b"{" + b",".join(b'"a%d":{"dtype":"F32"}' % i for i in range(100_000)) + b"}"), "more than 40,000 tensors"),
    "lists ten thousand deep": (lambda: file(b"[" * 10_000 + b"]" * 10_000), "nested deeper"),
    "mappings ten thousand deep": (lambda: file(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), "nested deeper"),
    "shape of three million sizes": (lambda: _raw(b"[" + b"0," * 3_000_000 + b"0]"), "no shape of at most 32"),
    "number of a million digits": (lambda: _raw(b"[" + b"1" * 1_000_000 + b"]"), "thousands of digits"),
    "size that is no whole number": (_raw(b"[1.5]"), "`1.5`"),
    "size that is NaN": (_raw(b"[NaN]"), "`NaN`"),
    "size that is true": (_raw(b"[true]"), "no shape"),
    "size that is negative": (_raw(b"[-1]"), "no shape"),
    "size of zero": (_raw(b"[0]"), "no shape"),
    "product beyond all addresses": (_raw(b"[4611686018427387904, 4611686018427387904]"), "more bytes than there are addresses"),
    "name twice": (file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"0000"), "names `a` twice"),
    "overlap": (file({"a": entry(2), "b": entry(2, begin=4)}, b"0" * 12), "overlap where `b` begins"),
    "two names for the same bytes": (file({"a": entry(2), "b": entry(2)}, b"0" * 8), "overlap where `b` begins"),
    "gap": (file({"a": entry(2), "b": entry(2, begin=12)}, b"0" * 20), "leave a gap where `b` begins"),
    "offsets that are negative": (file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}), "from where to where"),
    "offsets in reverse": (file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"0000"), "from where to where"),
    "data that stop early": (file({"a": entry(2)}, b"0000"), "is cut off: its tensors take 8 bytes, there are 4"),
    "data that go on": (file({"a": entry(2)}, b"0" * 9), "more behind its data"),
    "fewer bytes than the shape": (file({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 4]}}, b"0000"), "is F64 [1], 8 bytes, but has 4 bytes"),
    "unknown dtype": (file({"a": entry(1, "F31")}, b"0000"), "the dtype `F31`"),
    "dtype that is a list": (file({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"0000"), "the dtype"),
    "entry that is a number": (file({"a": 1}), "not described by"),
    "entry with more keys": (file({"a": entry(1) | {"x": 1}}, b"0000"), "not described by"),
    "metadata that is a number": (file({"__metadata__": {"a": 1}}), "no mapping of texts"),
    "head that is a list": (file([1]), "no mapping"),
    "head that is no JSON": (file(b"{'a': 1}"), "no JSON"),
    "head that is no UTF-8": (file(b'{"\xff": 1}'), "not UTF-8"),
    "name of a path": (_one("../../x"), "letters, digits, _ and -"),
    "name of a prototype": (_one("__proto__"), "Python's own"),
    "name of a class": (_one("a.__class__.b"), "Python's own"),
    "name that turns text": (_one("a\u202eb"), "'a\\u202eb'"),
    "name of a megabyte": (lambda: _one("a" * MIB), "at most 512 characters"),
    "name that is empty": (_one(""), "letters, digits"),
    "name with two dots": (_one("a..b"), "letters, digits"),
    "zip": (b"PK\x03\x04" + b"0" * 60, "`assembler convert` reads"),
    "pickle": (b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08os.system\x94.", "`assembler convert` reads"),
    "NumPy": (b"\x93NUMPY\x01\x00" + b"0" * 60, "a NumPy file"),
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
    "page of HTML": (b"<!DOCTYPE html>\n<html><body>404: not found</body></html>\n", "HTML"),
}  # fmt: skip


def made(name: str, folder: Path) -> Path:
    data = HEADS[name][0]
    path = folder / "weights.safetensors"
    path.write_bytes(data() if callable(data) else data)
    return path
