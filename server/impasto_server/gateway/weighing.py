"""What a message costs beside its images, found before it is parsed.

A message of a megabyte may have half a million fields of two bytes, and an object for each would take a
hundred times the megabyte. A request that somebody means has its weight in its images, and little else.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

MAX_FIELDS = 4096
"""Fields of a message, those of the messages in it included; each element of a list is one."""

_VARINT, _FIXED64, _LENGTH, _START, _END, _FIXED32 = range(6)
_MAX_DEPTH = 20


class Overweight(ValueError):
    """A message has too much beside its images. Says how much is allowed."""


class Malformed(ValueError):
    """Bytes that are no protobuf message."""


def weigh(data: bytes, type: Descriptor, most_bytes: int) -> None:
    """Checks what there is beside the contents of `bytes` fields, which are taken as they are.

    Args:
        data: a message, as it came.
        type: what it is meant to be.
        most_bytes: of all that is not in a `bytes` field.

    Raises:
        Overweight: there are too many fields or bytes.
        Malformed: it is no message.
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
                    # A list of numbers, of which only the first has a tag: each is a byte at least.
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
                f"has too much in it beside its images; send at most {MAX_FIELDS} fields and "
                f"{self._most_bytes:,} bytes of them"
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
