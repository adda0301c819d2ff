"""The contract with its comments, as plain data.

Generated Python code has no comments, so `buf` reads the protos.
"""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

from google.protobuf import descriptor_pb2 as pb

ROOT = Path(__file__).parents[2]
PACKAGE = "impasto.v1"

_SERVICE, _MESSAGE, _ENUM = (
    pb.FileDescriptorProto.SERVICE_FIELD_NUMBER,
    pb.FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER,
    pb.FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER,
)
_METHOD = pb.ServiceDescriptorProto.METHOD_FIELD_NUMBER
_FIELD = pb.DescriptorProto.FIELD_FIELD_NUMBER
_VALUE = pb.EnumDescriptorProto.VALUE_FIELD_NUMBER


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a message.

    Attributes:
        name: its name in JSON, such as "longestSide".
        type: a scalar type of the protos ("uint32"), or the full name of a message or an enum.
        repeated: whether it is a list.
        oneof: the oneof that it belongs to; "" for none.
        comment: its comment, without the comment signs.
    """

    name: str
    type: str
    repeated: bool
    oneof: str
    comment: str


@dataclasses.dataclass(frozen=True)
class Message:
    """A message with its full name ("impasto.v1.Job")."""

    name: str
    fields: tuple[Field, ...]
    comment: str


@dataclasses.dataclass(frozen=True)
class Enum:
    """An enum: its full name, and each value with its comment."""

    name: str
    values: tuple[tuple[str, str], ...]
    comment: str


@dataclasses.dataclass(frozen=True)
class Method:
    """A call.

    Attributes:
        service: full name of its service.
        name: its own name.
        request, response: full names of the messages.
        streams_requests, streams_responses: whether there are many of them.
        without_side_effects: whether it may be called with GET.
        comment: its comment.
    """

    service: str
    name: str
    request: str
    response: str
    streams_requests: bool
    streams_responses: bool
    without_side_effects: bool
    comment: str


@dataclasses.dataclass(frozen=True)
class Contract:
    """All that the protos of the package say.

    Attributes:
        services: the comments of the services by full name.
        methods: the calls of all services, in their order.
        messages, enums: by full name, in their order; those of other packages that are used among them.
    """

    services: dict[str, str]
    methods: tuple[Method, ...]
    messages: dict[str, Message]
    enums: dict[str, Enum]


def contract() -> Contract:
    """Reads the protos of this checkout.

    Raises:
        subprocess.CalledProcessError: `buf` finds an error in them.
    """
    command = ["buf", "build", "proto", "--path", "proto/impasto/v1", "--as-file-descriptor-set", "-o", "-"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    services: dict[str, str] = {}
    methods: list[Method] = []
    messages: dict[str, Message] = {}
    enums: dict[str, Enum] = {}
    files = pb.FileDescriptorSet.FromString(built).file
    # The file that the guide begins with, first.
    for file in sorted(files, key=lambda file: (file.package != PACKAGE, "admin" in file.name)):
        comments = {
            tuple(place.path): _plain(place.leading_comments) for place in file.source_code_info.location
        }
        for s, service in enumerate(file.service):
            services[f"{file.package}.{service.name}"] = comments.get((_SERVICE, s), "")
            methods += [
                _method(f"{file.package}.{service.name}", method, comments.get((_SERVICE, s, _METHOD, m), ""))
                for m, method in enumerate(service.method)
            ]
        for m, message in enumerate(file.message_type):
            path = (_MESSAGE, m)
            name = f"{file.package}.{message.name}"
            messages[name] = Message(
                name,
                tuple(
                    _field(message, field, comments.get((*path, _FIELD, f), ""))
                    for f, field in enumerate(message.field)
                ),
                comments.get(path, ""),
            )
        for e, enum in enumerate(file.enum_type):
            name = f"{file.package}.{enum.name}"
            values = [
                (value.name, comments.get((_ENUM, e, _VALUE, v), "")) for v, value in enumerate(enum.value)
            ]
            enums[name] = Enum(name, tuple(values), comments.get((_ENUM, e), ""))
    return Contract(services, tuple(methods), messages, enums)


def _plain(comment: str) -> str:
    """A comment without the space that follows each comment sign."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip("\n")


def _method(service: str, method: pb.MethodDescriptorProto, comment: str) -> Method:
    return Method(
        service,
        method.name,
        method.input_type.lstrip("."),
        method.output_type.lstrip("."),
        method.client_streaming,
        method.server_streaming,
        method.options.idempotency_level == pb.MethodOptions.NO_SIDE_EFFECTS,
        comment,
    )


def _field(message: pb.DescriptorProto, field: pb.FieldDescriptorProto, comment: str) -> Field:
    # An `optional` field is in a oneof of its own, which is not written in the proto.
    in_oneof = field.HasField("oneof_index") and not field.proto3_optional
    scalar = pb.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return Field(
        field.json_name,
        field.type_name.lstrip(".") or scalar,
        field.label == pb.FieldDescriptorProto.LABEL_REPEATED,
        message.oneof_decl[field.oneof_index].name if in_oneof else "",
        comment,
    )


def short_name(full_name: str) -> str:
    """The last part of a full name. Those of the contract and of what it uses are unique."""
    return full_name.rpartition(".")[2]


def used_messages(contract: Contract) -> list[Message]:
    """The package's messages and those of others that they use, except the types that JSON has a form for."""
    used: dict[str, Message] = {}
    waiting = [name for method in contract.methods for name in (method.request, method.response)]
    waiting += [name for name in contract.messages if name.startswith(PACKAGE)]
    while waiting:
        name = waiting.pop()
        if name in used or name not in contract.messages or name.startswith("google.protobuf."):
            continue
        used[name] = contract.messages[name]
        waiting += [field.type for field in used[name].fields]
    return [message for name, message in contract.messages.items() if name in used]
