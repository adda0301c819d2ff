"""The contract's messages in JSON, as types for the page's JavaScript."""

from __future__ import annotations

from collections.abc import Iterator

from reading import PACKAGE, Contract, Field, Method, short_name, used_messages

_HEAD = """\
// The messages of the contract as they are in JSON, and the calls. `poe page-contract` writes this file from
// the protos: change them, not this.
//
// No field is required: what has its default is left out. In JSON, a whole number of 64 bits is a string, and
// so are `bytes` (base64), times ("2026-11-27T12:00:00Z"), durations ("1.5s") and field masks
// ("title,recipe.color").
"""

SCALARS = {
    "string": "string",
    "bool": "boolean",
    "bytes": "string",
    **dict.fromkeys(("double", "float", "int32", "uint32"), "number"),
    **dict.fromkeys(("int64", "uint64"), "string"),
    "google.protobuf.Timestamp": "string",
    "google.protobuf.Duration": "string",
    "google.protobuf.FieldMask": "string",
    "google.protobuf.Empty": "Record<string, never>",
    "google.protobuf.Any": '{ "@type": string, [field: string]: unknown }',
}
"""Types of the protos that have a type of TypeScript."""


def text(contract: Contract) -> str:
    """The text of `types.d.ts`."""
    parts = [_HEAD]
    for message in used_messages(contract):
        parts += [*_comment(message.comment, ""), f"export interface {short_name(message.name)} {{"]
        for field in message.fields:
            parts += [*_comment(_of_field(field), "  "), f"  {field.name}?: {_type(field)};"]
        parts += ["}", ""]
    for enum in contract.enums.values():
        if not enum.name.startswith(PACKAGE):
            continue
        words = [f"  {name}: {comment}" for name, comment in enum.values]
        parts += _comment("\n".join([enum.comment, "", *words]).strip(), "")
        parts += [f"export type {short_name(enum.name)} =", *(f'  | "{name}"' for name, _ in enum.values)]
        parts[-1] += ";"
        parts += [""]
    unary = [m for m in contract.methods if not m.streams_requests and not m.streams_responses]
    streams = [m for m in contract.methods if not m.streams_requests and m.streams_responses]
    parts += _calls("UnaryCalls", "Calls with one answer, by their name in `connect.js`.", unary)
    parts += _calls("StreamCalls", "Calls that stream their answers.", streams)
    return "\n".join(parts).rstrip("\n") + "\n"


def _calls(name: str, comment: str, methods: list[Method]) -> Iterator[str]:
    yield f"/** {comment} */"
    yield f"export interface {name} {{"
    for method in methods:
        service = short_name(method.service)
        key = method.name if service == "StyleTransfer" else f'"{service}/{method.name}"'
        response = SCALARS.get(method.response, short_name(method.response))
        yield f"  {key}: {{ request: {short_name(method.request)}; response: {response} }};"
    yield "}"
    yield ""


def _of_field(field: Field) -> str:
    return f"{field.comment}\n(One of `{field.oneof}`.)" if field.oneof else field.comment


def _type(field: Field) -> str:
    one = SCALARS.get(field.type, short_name(field.type))
    return f"{one}[]" if field.repeated else one


def _comment(text: str, indent: str) -> Iterator[str]:
    lines = text.replace("*/", "* /").splitlines()
    if len(lines) == 1:
        yield f"{indent}/** {lines[0]} */"
    elif lines:
        yield f"{indent}/**"
        yield from (f"{indent} * {line}".rstrip() for line in lines)
        yield f"{indent} */"
