"""What the page and callers over HTTP have of the contract: up to date, valid, and true of a real server."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from support.example_programs import skip
from support.samples import coded, photo
from support.server_process import PATIENCE, ServerProcess, running_server

ROOT = Path(__file__).parents[2]
OPENAPI = json.loads((ROOT / "server" / "impasto_server" / "web" / "openapi.json").read_text("utf-8"))


def strict(schema: Any) -> Any:
    """A schema that accepts no fields besides those that it names."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    # The type of the details of an error decides their other fields.
    if "properties" in made and "@type" not in made["properties"]:
        made["additionalProperties"] = False
    return made


REGISTRY: Any = Registry().with_resource("urn:openapi", Resource(strict(OPENAPI), DRAFT202012))


def check(message: object, reference: str) -> None:
    """Checks a message against a schema of the description, given as `#/components/schemas/Job`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": f"urn:openapi{reference}"}
    jsonschema.Draft202012Validator(schema, registry=REGISTRY).validate(message)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        running.ready()
        yield running


def call(server: ServerProcess, method: str, message: dict[str, Any]) -> dict[str, Any]:
    """Makes a call as the description says, and checks the request and the answer against it."""
    assert server.web is not None
    path = f"/impasto.v1.{method}"
    operation = OPENAPI["paths"][path]["post"]
    check(message, operation["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    request = urllib.request.Request(
        server.web + path[1:], json.dumps(message).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        refusal = json.load(error)
        check(refusal, "#/components/schemas/ConnectError")
        return refusal  # type: ignore[no-any-return]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    check(answer, schema.get("$ref", "#/components/schemas/GetJobRequest"))
    return answer  # type: ignore[no-any-return]


def test_the_files_are_what_the_protos_say() -> None:
    if shutil.which("buf") is None:
        skip("reading the protos needs buf; pip install buf-bin")
    done = subprocess.run([sys.executable, ROOT / ".ci" / "page_contract", "--check"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_description_is_valid_openapi() -> None:
    validate(OPENAPI)


def test_every_call_of_the_contract_is_described() -> None:
    from impasto.v1 import admin_pb2, style_transfer_pb2

    for file in (style_transfer_pb2, admin_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                described = OPENAPI["paths"][f"/{service.full_name}/{method.name}"]
                safe = method.GetOptions().idempotency_level == 1
                assert ("get" in described) == safe
                assert described["post"]["description"]


def test_real_requests_and_answers_are_as_described(server: ServerProcess) -> None:
    picture = base64.b64encode(coded(photo(32, 24), "PNG")).decode()
    spec = {
        "content": {"encoded": picture},
        "styles": [{"image": {"encoded": picture}, "weight": 2}],
        "recipe": {"longestSide": 32, "evaluations": 4, "color": "COLOR_LUMINANCE"},
    }
    preview = {"minInterval": "0.5s", "format": "IMAGE_FORMAT_PNG"}
    job = call(server, "StyleTransfer/CreateJob", {"spec": spec, "title": "One", "preview": preview})
    name = job["name"]
    call(server, "StyleTransfer/GetPreview", {"name": name, "wait": "1s", "afterSequence": "0"})
    call(server, "StyleTransfer/GetJob", {"name": name})
    call(server, "StyleTransfer/ListJobs", {"pageSize": 10, "states": ["JOB_STATE_SUCCEEDED"]})
    call(server, "StyleTransfer/ListStyles", {})
    assert call(server, "StyleTransfer/GetServerInfo", {})["limits"]["maxStyles"] == 16
    change = {"job": {"name": name, "title": "Two"}, "updateMask": "title"}
    assert call(server, "StyleTransfer/UpdateJob", change).get("title", "Two") == "Two"
    call(server, "StyleTransfer/DeleteJob", {"name": name})


def test_errors_are_as_described(server: ServerProcess) -> None:
    wrong = call(server, "StyleTransfer/CreateJob", {"spec": {"recipe": {"longestSide": 3}}})
    assert wrong["code"] == "invalid_argument"
    assert "google.rpc.BadRequest" in [detail["type"] for detail in wrong["details"]]
    assert call(server, "StyleTransfer/GetJob", {"name": "jobs/none"})["code"] == "not_found"
