"""Read Thrift's compact protocol, in which the footer and the page headers of a Parquet file are written.

pyarrow reads both too, but it creates the column types while it opens a file, and extension types may run code. It also
believes the sizes. So they are read here first, as plain values.
Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13
_INTS = (4, 5, 6)  # of 16, 32 and 64 bits, all written alike
_MAX_DEPTH = 32
_MAX_VALUES = 2_000_000

Struct = dict[int, Any]


def read_struct(data: bytes | memoryview) -> tuple[Struct, int]:
    """Read the struct at the start of ``data``. Return its values by field number, and its length in bytes.

    Raises ValueError if it is damaged, has more than two million values or is nested too deep, IndexError if ``data``
    ends before it does.
    """
    reader = _Reader(data)
    return reader.struct(0), reader.place


class _Reader:
    def __init__(self, data: bytes | memoryview) -> None:
        self._data, self.place, self._values = data, 0, 0

    def struct(self, depth: int) -> Struct:
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
        found, field = {}, 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            if field in found:
                raise ValueError(f"it has the field {field} twice")
            found[field] = self._value(head & 15, depth, in_list=False)
        return found

    def _value(self, kind: int, depth: int, in_list: bool) -> Any:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise ValueError(f"it has more than {_MAX_VALUES:,} values")
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if in_list else kind == _TRUE
        if kind in _INTS:
            return self._zigzag()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_BYTE, _DOUBLE, _UUID):
            return self._bytes({_BYTE: 1, _DOUBLE: 8, _UUID: 16}[kind])
        raise ValueError(f"it holds a value of kind {kind}, which Parquet does not use")

    def _list(self, depth: int) -> list[Any]:
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        return [self._value(head & 15, depth + 1, in_list=True) for _ in range(count)]

    def _byte(self) -> int:
        self.place += 1
        return self._data[self.place - 1]

    def _bytes(self, length: int) -> bytes:
        data = self._data[self.place : self.place + length]
        if len(data) < length:
            raise IndexError("it ends before its text does")
        self.place += length
        return bytes(data)

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            if (shift := shift + 7) > 63:
                raise ValueError("it holds a number of more than 64 bits")

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)
