"""The calls over HTTP, as an OpenAPI description."""

from __future__ import annotations

import json
import re
from typing import Any

from reading import PACKAGE, Contract, Enum, Field, Message, Method, short_name, used_messages

Schema = dict[str, Any]

_ABOUT = """\
Impasto paints a photograph in the style of a painting, and shows the picture while it is being painted.

Each call of the contract is a POST with a JSON object, by the Connect protocol
(https://connectrpc.com/docs/protocol). Calls without side effects can be made with GET too. All addresses are
relative to that of the server's page, where this description is `openapi.json`.

Fields that have their default are left out of answers. A whole number of 64 bits is a string, and so are
bytes (base64), times and durations. Requests may name fields as here or as the contract does
(`longest_side`).

Calls that stream are described as `application/connect+json`: a sequence of messages, each after a byte of
flags and its length in four bytes, the highest first. The last one has the flag 2; it is a JSON object whose
`error` is set if the call failed. Such an answer always has the status 200. The request is one message of
this kind, with the flag 0."""

_CODES = {
    # Connect's protocol, "Error Codes".
    "canceled": 499,
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "data_loss": 500,
    "unauthenticated": 401,
}

_STREAM = "application/connect+json"

_KNOWN: dict[str, Schema] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "int32": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "uint32": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "int64": {"type": "string", "pattern": "^-?[0-9]+$"},
    "uint64": {"type": "string", "pattern": "^[0-9]+$"},
    "double": {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
        "examples": ["1.5s"],
    },
    "google.protobuf.FieldMask": {"type": "string", "examples": ["title,recipe.styleWeight"]},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
    },
}
"""Schemas of the types that JSON has a form of its own for (https://protobuf.dev/programming-guides/json)."""


def text(contract: Contract) -> str:
    """The text of `openapi.json`."""
    paths: dict[str, Any] = {
        f"/{method.service}/{method.name}": _operations(method) for method in contract.methods
    }
    schemas = {short_name(message.name): _of_message(message) for message in used_messages(contract)}
    schemas |= {
        short_name(enum.name): _of_enum(enum)
        for enum in contract.enums.values()
        if enum.name.startswith(PACKAGE)
    }
    description = {
        "openapi": "3.1.0",
        "info": {
            "title": "Impasto",
            "version": "v1",
            "summary": "Neural style transfer as a service.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "The address of the server's page."}],
        "security": [{"token": []}, {"cookie": []}, {}],
        "tags": [
            {"name": short_name(name), "description": _markdown(comment)}
            for name, comment in contract.services.items()
        ]
        + [{"name": "page", "description": "What is served besides the calls of the contract."}],
        "paths": paths | _paths_of_the_page(),
        "components": {
            "schemas": schemas | _schemas_of_the_page(),
            "responses": {
                "Error": {
                    "description": "The call failed. The status follows from the code: "
                    + ", ".join(f"{code} {status}" for code, status in _CODES.items())
                    + ".",
                    "content": {"application/json": {"schema": _reference("ConnectError")}},
                },
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token from the administrator. Servers without tokens need none.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "impasto-PORT",
                    "description": "What `session` sets. It counts in requests of the page itself only.",
                },
            },
        },
    }
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


def _operations(method: Method) -> Schema:
    """The ways to make a call."""
    service = short_name(method.service)
    common = {
        "tags": [service],
        "summary": _first_sentence(method.comment),
        "description": _markdown(method.comment),
    }
    request, response = _reference(method.request), _reference(method.response)
    streams = method.streams_requests or method.streams_responses
    content = {_STREAM: _envelopes(method)} if streams else {"application/json": {"schema": response}}
    responses: Schema = {"200": {"description": "The answer.", "content": content}}
    responses["default"] = {"$ref": "#/components/responses/Error"}
    if streams:
        body = {_STREAM: {"schema": request, "x-enveloped": True}}
    else:
        body = {"application/json": {"schema": request}}
    operations: Schema = {
        "post": common
        | {
            "operationId": f"{service}_{method.name}",
            "parameters": [_timeout(), _version()],
            "requestBody": {"required": True, "content": body},
            "responses": responses,
        }
    }
    if method.without_side_effects:
        query: list[Schema] = [
            {
                "name": "message",
                "in": "query",
                "required": True,
                "description": "The request.",
                "content": {"application/json": {"schema": request}},
            },
            {"name": "encoding", "in": "query", "required": True, "schema": {"const": "json"}},
            {"name": "connect", "in": "query", "schema": {"const": "v1"}},
        ]
        operations["get"] = common | {
            "operationId": f"{service}_{method.name}_get",
            "parameters": [*query, _timeout()],
            "responses": responses,
        }
    return operations


def _envelopes(method: Method) -> Schema:
    many = "Messages" if method.streams_responses else "One message"
    return {
        "schema": _reference(method.response),
        "x-enveloped": True,
        "x-stream": f"{many} of this form, enveloped, then an envelope with the flag 2.",
    }


def _timeout() -> Schema:
    return {
        "name": "Connect-Timeout-Ms",
        "in": "header",
        "description": "Milliseconds after which the call ends with deadline_exceeded.",
        "schema": {"type": "integer", "minimum": 0},
    }


def _version() -> Schema:
    return {"name": "Connect-Protocol-Version", "in": "header", "schema": {"const": "1"}}


def _of_message(message: Message) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": {field.name: _of_field(field) for field in message.fields},
    }
    oneofs: dict[str, list[str]] = {}
    for field in message.fields:
        if field.oneof:
            oneofs.setdefault(field.oneof, []).append(field.name)
    told = [
        message.comment,
        *(f"At most one of these is set: {', '.join(names)}." for names in oneofs.values()),
    ]
    if description := "\n\n".join(part for part in told if part):
        schema["description"] = _markdown(description)
    return schema


def _of_field(field: Field) -> Schema:
    one = _KNOWN.get(field.type) or _reference(field.type)
    schema = {"type": "array", "items": one} if field.repeated else one
    return {**schema, "description": _markdown(field.comment)} if field.comment else schema


def _of_enum(enum: Enum) -> Schema:
    values = [f"- `{name}`: {' '.join(comment.split())}" for name, comment in enum.values]
    return {
        "type": "string",
        "enum": [name for name, _ in enum.values],
        "description": "\n".join([_markdown(enum.comment), "", *values]).strip(),
    }


def _reference(name: str) -> Schema:
    return _KNOWN.get(name) or {"$ref": f"#/components/schemas/{short_name(name)}"}


def _first_sentence(comment: str) -> str:
    words = " ".join(comment.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", words)[0].rstrip(".")


def _markdown(comment: str) -> str:
    """A comment as Markdown: the lists of errors become lists."""
    lines = [re.sub(r"^  ([A-Z]+(?:_[A-Z]+)*) +(?=\S)", r"- `\1` ", line) for line in comment.splitlines()]
    return re.sub(r"(?m)^(Errors:.*|And:)\n(?=- )", r"\1\n\n", "\n".join(lines))


def _paths_of_the_page() -> Schema:
    """What is served besides the calls."""
    picture = {"schema": {"type": "string", "format": "binary"}}
    range_of_bytes = {
        "name": "Range",
        "in": "header",
        "schema": {"type": "string"},
        "example": "bytes=0-1023",
    }
    ticket = {
        "name": "ticket",
        "in": "path",
        "required": True,
        "description": "The last part of `ImageLink.path`, as CreateImageLinks returned it.",
        "schema": {"type": "string"},
    }
    download = {
        "name": "download",
        "in": "query",
        "description": "A file name: a browser then saves the picture under it.",
        "schema": {"type": "string"},
    }
    plain = {"text/plain": {"schema": {"type": "string"}}}

    def operation(name: str, summary: str, responses: Schema, **rest: Any) -> Schema:
        return {"tags": ["page"], "operationId": name, "summary": summary, **rest, "responses": responses}

    pictures: Schema = {
        "200": {"description": "The picture.", "content": {"image/*": picture}},
        "206": {"description": "The part that `Range` names.", "content": {"image/*": picture}},
        "403": {"description": "The ticket was not issued by this server.", "content": plain},
        "404": {"description": "The picture does not exist.", "content": plain},
        "410": {"description": "The ticket has expired.", "content": plain},
        "416": {"description": "The range is beyond the end.", "content": plain},
    }
    refused = {"$ref": "#/components/responses/Error"}
    own: Schema = {"security": [{}]}
    return {
        "/images/{ticket}": {
            "parameters": [ticket, download],
            "get": operation("get_image", "Sends a picture", pictures, parameters=[range_of_bytes], **own),
            "head": operation("head_image", "Describes a picture", pictures, **own),
        },
        "/session": {
            "get": operation(
                "get_session",
                "Says whether this browser is signed in",
                {
                    "200": {
                        "description": "The answer.",
                        "content": {"application/json": {"schema": _reference("Session")}},
                    }
                },
            ),
            "post": operation(
                "sign_in",
                "Signs this browser in, with a cookie",
                {"204": {"description": "It is signed in."}, "default": refused},
                requestBody={
                    "required": True,
                    "content": {"application/json": {"schema": _reference("SignIn")}},
                },
                **own,
            ),
            "delete": operation(
                "sign_out", "Signs this browser out", {"204": {"description": "It is signed out."}}
            ),
        },
        "/session/code": {
            "post": operation(
                "create_sign_in_code",
                "Makes a code with which another device signs in, once",
                {
                    "200": {
                        "description": "The code.",
                        "content": {"application/json": {"schema": _reference("SignInCode")}},
                    },
                    "default": refused,
                },
                security=[{"token": []}, {"cookie": []}],
            ),
        },
    }


def _schemas_of_the_page() -> Schema:
    text, flag = {"type": "string"}, {"type": "boolean"}
    return {
        "ConnectError": {
            "type": "object",
            "description": "An error, as Connect's protocol has it.",
            "properties": {
                "code": {"enum": list(_CODES)},
                "message": text,
                "details": {
                    "type": "array",
                    "description": "Messages of google/rpc/error_details.proto; see the contract.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "type": {
                                **text,
                                "description": "Full name, such as google.rpc.BadRequest.",
                            },
                            "value": {**text, "description": "The message in binary form, in base64."},
                            "debug": {"description": "The message in JSON. Not always there."},
                        },
                        "required": ["type", "value"],
                    },
                },
            },
            "required": ["code"],
        },
        "Session": {
            "type": "object",
            "properties": {
                "signed_in": {**flag, "description": "Whether the cookie is there and valid."},
                "needs_token": {**flag, "description": "Whether the server requires tokens."},
            },
            "required": ["signed_in", "needs_token"],
        },
        "SignIn": {
            "type": "object",
            "description": "A token, or a code for one sign-in.",
            "properties": {
                "token": text,
                "code": text,
                "keep": {**flag, "description": "Whether to stay signed in when the browser is closed."},
            },
        },
        "SignInCode": {
            "type": "object",
            "properties": {
                "code": {**text, "description": "It works once."},
                "expires_in": {"type": "number", "description": "Seconds for which it works."},
            },
            "required": ["code", "expires_in"],
        },
    }
