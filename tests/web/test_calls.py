"""Calls over Connect and gRPC-Web: JSON, binary, streams, errors, GET, both versions of HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import quote

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from support.samples import coded, photo
from support.server_process import PATIENCE, ServerProcess, running_server
from support.web_calls import Answer, ask, call, streamed

IMAGE = {"encoded": base64.b64encode(coded(photo(64, 48))).decode()}
SPEC = {"content": IMAGE, "styles": [{"image": IMAGE}]}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        running.ready()
        yield running


def test_a_call_in_json(server: ServerProcess) -> None:
    answer = call(server.web, "GetServerInfo", {})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["version"] == server.info().version
    assert answer.headers["cache-control"] == "no-store"


def test_a_call_in_binary_form(server: ServerProcess) -> None:
    path = "impasto.v1.StyleTransfer/GetServerInfo"
    answer = ask(server.web, path, b"", {"content-type": "application/proto"})
    assert pb.GetServerInfoResponse.FromString(answer.body) == server.info()


def test_a_call_without_side_effects_with_get(server: ServerProcess) -> None:
    query = f"encoding=json&message={quote(json.dumps({}))}"
    assert "version" in ask(server.web, f"impasto.v1.StyleTransfer/GetServerInfo?{query}").json
    # A call that changes something is not for a link or an image of another site.
    assert ask(server.web, f"impasto.v1.StyleTransfer/CreateJob?{query}").status == 405


def test_an_error_has_its_code_message_and_details(server: ServerProcess) -> None:
    answer = call(server.web, "GetJob", {"name": "nowhere"})
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "nowhere" in answer.json["message"]
    assert answer.json["details"][0]["type"] == "google.rpc.ErrorInfo"


def test_json_that_is_not_for_the_call_is_refused(server: ServerProcess) -> None:
    for body in ('{"name": ', '{"nam": "x"}', "[" * 5000, "{" + '"a":{},' * 30_000 + "}"):
        answer = ask(
            server.web, "impasto.v1.StyleTransfer/GetJob", body, {"content-type": "application/json"}
        )
        assert (answer.status, answer.json["code"]) == (400, "invalid_argument"), body[:20]


def test_a_painting_is_streamed(server: ServerProcess) -> None:
    request = {"spec": {**SPEC, "recipe": {"evaluations": 20}}}
    with streamed(server.web, "Stylize", request) as events:
        *events_, end = events
    assert end == {"end": {}}
    kinds = {kind for event in events_ for kind in event.get("event", event)}
    assert {"job", "preview", "result"} <= kinds, kinds


def test_other_types_of_bodies_are_refused(server: ServerProcess) -> None:
    # What a form of another site could send.
    for type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/grpc",
    ):
        path = "impasto.v1.StyleTransfer/GetServerInfo"
        assert ask(server.web, path, b"{}", {"content-type": type}).status == 415


def test_a_grpc_caller_is_told_that_it_has_the_wrong_port(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.web.removeprefix("http://").rstrip("/")) as channel:
        stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
        for call_ in (
            lambda: stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=PATIENCE),
            lambda: list(stub.WatchJobs(pb.WatchJobsRequest(), timeout=PATIENCE)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call_()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "port" in caught.value.details()


def test_calls_over_http_2(server: ServerProcess) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    url = f"{server.web}impasto.v1.StyleTransfer/GetServerInfo"
    done = subprocess.run(
        [curl, "-s", "--http2-prior-knowledge", "-w", "%{http_version}", "--json", "{}", url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.startswith('{"version"')
    assert done.stdout.endswith("}2")


def test_grpc_web_in_both_forms(server: ServerProcess) -> None:
    path, frame = "impasto.v1.StyleTransfer/GetServerInfo", b"\0\0\0\0\0"
    binary = ask(server.web, path, frame, {"content-type": "application/grpc-web+proto"})
    text = ask(server.web, path, base64.b64encode(frame), {"content-type": "application/grpc-web-text"})
    assert text.headers["content-type"] == "application/grpc-web-text+proto"
    for body in (binary.body, _parts(text)):
        length = int.from_bytes(body[1:5], "big")
        assert pb.GetServerInfoResponse.FromString(body[5 : 5 + length]) == server.info()
        assert b"grpc-status: 0" in body[5 + length :]


def _parts(answer: Answer) -> bytes:
    """Decodes base64 of which each part has its own padding."""
    fours = [answer.body[i : i + 4] for i in range(0, len(answer.body), 4)]
    return b"".join(map(base64.b64decode, fours))


def test_a_deadline_of_the_caller_holds(server: ServerProcess) -> None:
    request = {"spec": {**SPEC, "recipe": {"evaluations": 5000}}}
    name = call(server.web, "CreateJob", request).json["name"]
    with streamed(server.web, "WatchJob", {"name": name}, {"connect-timeout-ms": "300"}) as events:
        *_, end = events
    assert end["end"]["error"]["code"] == "deadline_exceeded"
    call(server.web, "CancelJob", {"name": name})


def test_any_deadline_of_the_protocols_can_be_given(server: ServerProcess) -> None:
    path, frame = "impasto.v1.StyleTransfer/GetServerInfo", b"\0\0\0\0\0"
    for timeout in ("99999999H", "1M", "5000m"):
        about = {"content-type": "application/grpc-web+proto", "grpc-timeout": timeout}
        assert b"grpc-status: 0" in ask(server.web, path, frame, about).body, timeout
    assert call(server.web, "GetServerInfo", {}, {"connect-timeout-ms": "9999999999"}).status == 200


def test_a_message_in_an_address_must_be_base64(server: ServerProcess) -> None:
    for message, status in (("e30", 200), ("e30=", 200), ("!!", 400)):
        query = f"encoding=json&base64=1&message={message}"
        answer = ask(server.web, f"impasto.v1.StyleTransfer/GetServerInfo?{query}")
        assert answer.status == status, message
    assert answer.json["code"] == "invalid_argument"


def test_an_unknown_call_is_not_found(server: ServerProcess) -> None:
    assert call(server.web, "Paint", {}).status == 404
