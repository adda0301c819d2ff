"""The libraries that browsers use, as they come from npm: @connectrpc/connect-web and grpc-web."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from impasto.v1 import admin_pb2
from support.samples import coded, photo
from support.server_process import PATIENCE, running_server

NPM = Path(__file__).parent / "npm"


def with_its_imports(file: FileDescriptor, into: FileDescriptorSet) -> FileDescriptorSet:
    for imported in file.dependencies:
        with_its_imports(imported, into)
    if file.name not in [each.name for each in into.file]:
        copied = into.file.add()
        file.CopyToProto(copied)
        for message in copied.message_type:
            name_for_json(message)
    return into


def name_for_json(message: DescriptorProto) -> None:
    """Gives fields the names that protoc gives them, and that Python leaves out."""
    for field in message.field:
        first, *rest = field.name.split("_")
        field.json_name = first + "".join(word.capitalize() for word in rest)
    for nested in message.nested_type:
        name_for_json(nested)


def test_every_kind_of_call(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (NPM / "node_modules").exists():
        pytest.skip("needs node, and `npm ci` in tests/web/npm")
    descriptors, picture = tmp_path / "descriptors", tmp_path / "photo.png"
    descriptors.write_bytes(with_its_imports(admin_pb2.DESCRIPTOR, FileDescriptorSet()).SerializeToString())
    picture.write_bytes(coded(photo(48, 32)))
    with running_server("--mock", "--port", "0", "--web-port", "0") as server:
        version = server.ready().version
        done = subprocess.run(
            [node, "calls.mjs", server.web, str(descriptors), str(picture)],
            cwd=NPM,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {each["version"] for each in found.values()} == {version}
    kinds = {tuple(each["kinds"]) for each in found.values() if "kinds" in each}
    assert len(kinds) == 1
    assert "event" in kinds.pop()
    codes = {name: each["code"] for name, each in found.items()}
    assert codes == {
        "connectJson": "NotFound",
        "connectBinary": "NotFound",
        "connectGet": "NotFound",
        "grpcWeb": "NotFound",
        "grpcWeb_text": 5,
        "grpcWeb_binary": 5,
    }
