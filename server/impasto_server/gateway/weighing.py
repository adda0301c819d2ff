"""Measures a message without its images, before it is parsed.

A message of one megabyte can have half a million fields of two bytes. Parsed, with an object for each field,
it would take a hundred megabytes. An honest request is large only because of its images.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MAX_FIELDS = 4096
"""Maximum number of fields of a message, including nested messages; each element of a list counts."""

_VARINT, _FIXED64, _LENGTH, _START, _END, _FIXED32 = range(6)
_MAX_DEPTH = 20


class Overweight(ValueError):
    """A message is too large without its images. The error says how much is allowed."""


class Malformed(ValueError):
    """The bytes are not a protobuf message."""


def weigh(data: bytes, type: Descriptor, most_bytes: int) -> None:
    """Checks the number of fields, and the number of bytes outside `bytes` fields.

    Args:
        data: a serialized message.
        type: the expected type of the message.
        most_bytes: maximum bytes outside `bytes` fields.

    Raises:
        Overweight: there are too many fields or bytes.
        Malformed: the data is not a message.
    """
    _Scales(data, most_bytes).weigh(0, len(data), type, _MAX_DEPTH)


class _Scales:
    def __init__(self, data: bytes, most_bytes: int) -> None:
        self._data = data
        self._fields = MAX_FIELDS
        self._bytes = most_bytes
        self._most_bytes = most_bytes

    def weigh(self, at: int, end: int, type: Descriptor | None, depth: int) -> None:
        while at < end:
            self._fields -= 1
            begin = at
            tag, at = self._varint(at, end)
            field = None if type is None else type.fields_by_number.get(tag >> 3)
            kind = tag & 7
            if kind == _VARINT:
                _, at = self._varint(at, end)
            elif kind == _LENGTH:
                length, content = self._varint(at, end)
                at = content + length
                if at > end:
                    raise Malformed
                if field is not None and field.message_type is not None and depth:
                    self._count(content - begin)
                    self.weigh(content, at, field.message_type, depth - 1)
                    continue
                if field is not None and field.type == FieldDescriptor.TYPE_BYTES:
                    begin += length
                elif field is not None and field.type != FieldDescriptor.TYPE_STRING:
                    # A packed list of numbers has one tag for all, and at least one byte for each number.
                    self._fields -= length
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            elif kind not in (_START, _END):
                raise Malformed
            self._count(at - begin)
        if at > end:
            raise Malformed

    def _count(self, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0 or self._fields < 0:
            raise Overweight(
                f"is too large without its images; send at most {MAX_FIELDS:,} fields, with at most "
                f"{self._most_bytes:,} bytes"
            )

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            at += 1
            if byte < 0x80:
                return value, at
            shift += 7
        raise Malformed
