"""Access control and the separation of tenants, with real servers and real TLS."""

from __future__ import annotations

import codecs
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from impasto_server.gateway.tokens import Tokens
from support.certificates import Authority
from support.samples import stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server, until

CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin")
ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


class Tenanted:
    """A server with two tenants, and their tokens."""

    def __init__(self, server: ServerProcess, tokens: Tokens, alice: str, bob: str) -> None:
        self.server, self.tokens, self.alice, self.bob = server, tokens, alice, bob

    def create(self, token: str, recipe: pb.Recipe | None = None) -> pb.Job:
        spec = stylize_request(recipe=recipe).spec
        request = pb.CreateJobRequest(spec=spec)
        return self.server.stub.CreateJob(request, timeout=PATIENCE, metadata=bearer(token))


@pytest.fixture(scope="module")
def tenanted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenanted]:
    tokens = Tokens(tmp_path_factory.mktemp("tokens") / "tokens.json")
    alice, bob = tokens.add("alice"), tokens.add("bob", weight=3)
    more = ("--tokens-file", str(tokens.path), "--max-jobs-per-tenant", "3")
    with running_server(*CPU, *more) as server:
        yield Tenanted(server, tokens, alice, bob)


def ending(call: object, *arguments: object, **options: object) -> tuple[grpc.StatusCode, str]:
    def answered() -> None:
        answer = call(*arguments, timeout=PATIENCE, **options)  # type: ignore[operator]
        if hasattr(answer, "__next__"):
            list(answer)

    with pytest.raises(grpc.RpcError) as caught:
        answered()
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    return caught.value.code(), info.reason


def calls(stub: style_transfer_pb2_grpc.StyleTransferStub, job: str) -> dict[str, tuple[object, object]]:
    """Every call of the service; calls about a job get the job's name."""
    return {
        "Stylize": (stub.Stylize, stylize_request()),
        "CreateJob": (stub.CreateJob, pb.CreateJobRequest(spec=stylize_request().spec)),
        "GetJob": (stub.GetJob, pb.GetJobRequest(name=job)),
        "ListJobs": (stub.ListJobs, pb.ListJobsRequest()),
        "UpdateJob": (
            stub.UpdateJob,
            pb.UpdateJobRequest(job=pb.Job(name=job), update_mask=FieldMask(paths=["title"])),
        ),
        "PauseJob": (stub.PauseJob, pb.PauseJobRequest(name=job)),
        "ResumeJob": (stub.ResumeJob, pb.ResumeJobRequest(name=job)),
        "CancelJob": (stub.CancelJob, pb.CancelJobRequest(name=job)),
        "DeleteJob": (stub.DeleteJob, pb.DeleteJobRequest(name=job)),
        "WatchJob": (stub.WatchJob, pb.WatchJobRequest(name=job)),
        "GetPreview": (stub.GetPreview, pb.GetPreviewRequest(name=job)),
        "UploadImage": (stub.UploadImage, iter([pb.UploadImageRequest(sha256="a" * 64, size_bytes=1)])),
        "DownloadImage": (stub.DownloadImage, pb.DownloadImageRequest(result_of=job)),
        "ListStyles": (stub.ListStyles, pb.ListStylesRequest()),
        "GetServerInfo": (stub.GetServerInfo, pb.GetServerInfoRequest()),
        "EstimateJob": (stub.EstimateJob, pb.EstimateJobRequest(spec=stylize_request().spec)),
        "WatchJobs": (stub.WatchJobs, pb.WatchJobsRequest()),
        "UploadImagePiece": (
            stub.UploadImagePiece,
            pb.UploadImagePieceRequest(sha256="a" * 64, size_bytes=1),
        ),
        "CreateImageLinks": (stub.CreateImageLinks, pb.CreateImageLinksRequest()),
    }


def test_the_table_has_every_call_of_the_service() -> None:
    service = pb.DESCRIPTOR.services_by_name["StyleTransfer"]
    with grpc.insecure_channel("localhost:1") as channel:
        stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
        assert set(calls(stub, "")) == {method.name for method in service.methods}


@pytest.mark.parametrize("metadata", [(), bearer("wrong"), bearer(""), (("authorization", "Basic abc"),)])
def test_no_call_is_answered_without_a_token(
    tenanted: Tenanted, metadata: tuple[tuple[str, str], ...]
) -> None:
    for call, request in calls(tenanted.server.stub, "jobs/any").values():
        assert ending(call, request, metadata=metadata) == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")


def test_reflection_requires_a_token_and_health_does_not(tenanted: Tenanted) -> None:
    reflection = reflection_pb2_grpc.ServerReflectionStub(tenanted.server.channel)
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    with pytest.raises(grpc.RpcError) as caught:
        list(reflection.ServerReflectionInfo(iter(requests), timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    answers = list(
        reflection.ServerReflectionInfo(iter(requests), timeout=PATIENCE, metadata=bearer(tenanted.alice))
    )
    assert answers[0].list_services_response.service
    health = health_pb2_grpc.HealthStub(tenanted.server.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status


def test_a_tenant_cannot_see_the_jobs_of_another(tenanted: Tenanted) -> None:
    job = tenanted.create(tenanted.alice, ENDLESS).name
    stub = tenanted.server.stub
    about_jobs = set(calls(stub, job)) - {
        "Stylize", "CreateJob", "ListJobs", "UploadImage", "ListStyles", "GetServerInfo",
        "EstimateJob", "WatchJobs", "UploadImagePiece", "CreateImageLinks",
    }  # fmt: skip
    for name in about_jobs:
        call, request = calls(stub, job)[name]
        code, _ = ending(call, request, metadata=bearer(tenanted.bob))
        assert code == grpc.StatusCode.NOT_FOUND, name
    listed = stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE, metadata=bearer(tenanted.bob)).jobs
    assert job not in {listed_job.name for listed_job in listed}
    mine = stub.GetJob(pb.GetJobRequest(name=job), timeout=PATIENCE, metadata=bearer(tenanted.alice))
    assert mine.state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)

    # An image also belongs to its tenant only, even if others know its digest.
    digest = mine.spec.content.sha256
    download = pb.DownloadImageRequest(sha256=digest)
    assert ending(stub.DownloadImage, download, metadata=bearer(tenanted.bob))[0] == grpc.StatusCode.NOT_FOUND
    borrowed = pb.CreateJobRequest(spec=stylize_request().spec)
    borrowed.spec.content.sha256 = digest
    code, reason = ending(stub.CreateJob, borrowed, metadata=bearer(tenanted.bob))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_MISSING")
    stub.DeleteJob(pb.DeleteJobRequest(name=job), timeout=PATIENCE, metadata=bearer(tenanted.alice))


def test_each_tenant_has_a_quota_of_jobs(tenanted: Tenanted) -> None:
    names = [tenanted.create(tenanted.alice, ENDLESS).name for _ in range(3)]
    stub = tenanted.server.stub
    request = pb.CreateJobRequest(spec=stylize_request().spec)
    code, reason = ending(stub.CreateJob, request, metadata=bearer(tenanted.alice))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_JOBS")
    other = tenanted.create(tenanted.bob)
    for name, token in [*((name, tenanted.alice) for name in names), (other.name, tenanted.bob)]:
        stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=PATIENCE, metadata=bearer(token))


def test_the_server_tells_the_name_of_the_tenant(tenanted: Tenanted) -> None:
    for token, name in ((tenanted.alice, "alice"), (tenanted.bob, "bob")):
        info = tenanted.server.stub.GetServerInfo(
            pb.GetServerInfoRequest(), timeout=PATIENCE, metadata=bearer(token)
        )
        assert info.tenant == name


def is_in(tenanted: Tenanted, token: str) -> bool:
    """Whether the server accepts a token."""
    stub = tenanted.server.stub
    try:
        stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=PATIENCE, metadata=bearer(token))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
        return False
    return True


def known(tenanted: Tenanted, name: str) -> str:
    """A new token that the server accepts already."""
    token = tenanted.tokens.add(name)
    until(lambda: is_in(tenanted, token), bool)
    return token


def test_tokens_are_added_and_removed_without_a_restart(tenanted: Tenanted) -> None:
    token = known(tenanted, "carol")
    tenanted.tokens.remove("carol")
    until(lambda: is_in(tenanted, token), lambda yes: not yes)
    assert is_in(tenanted, tenanted.alice)


def secure(server: ServerProcess, authority: Authority, **files: Path) -> grpc.Channel:
    read = {
        "private_key": files["key"].read_bytes() if "key" in files else None,
        "certificate_chain": files["cert"].read_bytes() if "cert" in files else None,
    }
    credentials = grpc.ssl_channel_credentials(authority.cert.read_bytes(), **read)
    return grpc.secure_channel(server.address, credentials)


def info_over(channel: grpc.Channel, **options: object) -> pb.GetServerInfoResponse:
    stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
    return stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=10, **options)  # type: ignore[arg-type]


def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    tls = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    with running_server(*CPU, *tls) as server:
        with secure(server, authority) as channel:
            assert info_over(channel).version
        with grpc.insecure_channel(server.address) as plain, pytest.raises(grpc.RpcError):
            info_over(plain)
        stranger = Authority(tmp_path, "Somebody else")
        with secure(server, stranger) as channel, pytest.raises(grpc.RpcError):
            info_over(channel)
        successor = Authority(tmp_path, "The next one")
        successor.issue("server")
        with secure(server, successor) as channel:
            assert info_over(channel).version


@pytest.mark.slow
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_with_mtls_the_certificate_names_the_tenant(tmp_path: Path, mark: bytes) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "Somebody else")
    pair, dora = authority.issue("server"), authority.issue("dora")
    for file in (pair.cert, pair.key):
        file.write_bytes(mark + file.read_bytes())
    mallory = stranger.issue("mallory")
    trusted = tmp_path / "trusted"
    trusted.write_bytes(mark + authority.cert.read_bytes())
    tls = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--tls-client-ca", str(trusted))
    with running_server(*CPU, *tls) as server:
        with secure(server, authority, cert=dora.cert, key=dora.key) as channel:
            assert info_over(channel).tenant == "dora"
        for files in ({}, {"cert": mallory.cert, "key": mallory.key}):
            with secure(server, authority, **files) as channel, pytest.raises(grpc.RpcError):
                info_over(channel)


def test_with_mtls_a_certificate_without_a_usable_name_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, nameless = authority.issue("server"), authority.issue("nameless", common_name="")
    ugly = authority.issue("ugly", common_name="a\nlevel=ERROR")
    tls = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--tls-client-ca", str(authority.cert))
    with running_server(*CPU, *tls) as server:
        for who in (nameless, ugly):
            with secure(server, authority, cert=who.cert, key=who.key) as channel:
                stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
                ended = ending(stub.GetServerInfo, pb.GetServerInfoRequest())
                assert ended == (grpc.StatusCode.UNAUTHENTICATED, "NO_COMMON_NAME")


def test_removing_a_token_ends_its_streams_but_not_its_jobs(tenanted: Tenanted) -> None:
    stub = tenanted.server.stub
    token = known(tenanted, "eve")
    job = tenanted.create(token, ENDLESS).name
    watch = stub.WatchJob(pb.WatchJobRequest(name=job), timeout=PATIENCE, metadata=bearer(token))
    next(watch)
    tenanted.tokens.remove("eve")
    with pytest.raises(grpc.RpcError) as caught:
        list(watch)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    again = known(tenanted, "eve")
    seen = stub.GetJob(pb.GetJobRequest(name=job), timeout=PATIENCE, metadata=bearer(again))
    assert seen.state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)
    stub.DeleteJob(pb.DeleteJobRequest(name=job), timeout=PATIENCE, metadata=bearer(again))
    tenanted.tokens.remove("eve")


def refused(*arguments: str) -> str:
    command = [sys.executable, "-m", "impasto_server", "serve", "--port", "0", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    return ended.stderr.splitlines()[-1]


def test_an_unprotected_public_address_is_refused(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server")
    data = ("--data-dir", str(tmp_path / "data"))
    said = refused("--host", "0.0.0.0", *data)
    assert "--tls-cert" in said
    assert "token add" in said
    said = refused("--host", "0.0.0.0", *data, "--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    assert "token add" in said
    assert "encryption" not in said


@pytest.mark.slow
def test_invalid_certificates_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good, other = authority.issue("server"), authority.issue("other")
    old = authority.issue("old", days=(-10, -1))
    early = authority.issue("early", days=(2, 10))
    encrypted = tmp_path / "encrypted.key"
    command = [
        "openssl",
        "pkcs8",
        "-topk8",
        "-in",
        str(good.key),
        "-out",
        str(encrypted),
        "-passout",
        "pass:x",
    ]
    subprocess.run(command, check=True)
    data = ("--data-dir", str(tmp_path / "data"))
    for arguments, sentence in (
        (("--tls-cert", str(good.cert)), "--tls-cert needs --tls-key"),
        (("--tls-cert", "/nowhere.pem", "--tls-key", str(good.key)), "cannot be read"),
        (("--tls-cert", str(good.cert), "--tls-key", str(other.key)), "is not the key of the certificate"),
        (("--tls-cert", __file__, "--tls-key", str(good.key)), "contains no certificate"),
        (("--tls-cert", str(good.cert), "--tls-key", __file__), "contains no private key"),
        (("--tls-cert", str(old.cert), "--tls-key", str(old.key)), "expired"),
        (("--tls-cert", str(early.cert), "--tls-key", str(early.key)), "is not valid before"),
        (("--tls-client-ca", str(good.cert)), "needs --tls-cert"),
        (("--tls-cert", str(good.cert), "--tls-key", str(encrypted)), "is encrypted"),
    ):
        assert sentence in refused(*data, *arguments)
