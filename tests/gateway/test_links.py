"""Links of pictures: their tickets, and what they give access to."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import PIL.Image
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_status import rpc_status

from impasto.v1 import admin_pb2, admin_pb2_grpc
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, reason_of
from impasto_server.gateway import links as links_module
from impasto_server.gateway.links import KEY_FILE, MAX_TICKET, Links, Ticket
from impasto_server.gateway.open_calls import MAX_CALLS_OF_LINK
from impasto_server.gateway.tokens import Tokens
from support.samples import coded, photo, stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server, until

RESULT = pb.DownloadImageRequest(result_of="jobs/of-anna")
LATER = 1 << 62


def told(check: Callable[[], object]) -> str:
    """The reason for which a ticket is refused."""
    with pytest.raises(CallError) as caught:
        check()
    assert caught.value.status.code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    return reason_of(caught.value.status)


@pytest.mark.parametrize("tenant", ["", "anna", "日本" * 32])
def test_a_ticket_says_whose_picture_it_is_which_and_until_when(tenant: str) -> None:
    links = Links()
    request = pb.DownloadImageRequest(sha256="a" * 64, max_side=256, format=pb.IMAGE_FORMAT_WEBP)
    text = links.ticket(Ticket(tenant, LATER, request))
    assert links.check(text) == Ticket(tenant, LATER, request)
    assert len(text) <= MAX_TICKET
    # It is part of an address as it is.
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_every_changed_character_makes_a_ticket_invalid() -> None:
    links = Links()
    text = links.ticket(Ticket("anna", LATER, RESULT))
    for i, character in enumerate(text):
        other = "A" if character != "A" else "B"
        forged = text[:i] + other + text[i + 1 :]
        assert told(lambda forged=forged: links.check(forged)) == "LINK_INVALID"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "?", "é", "A" * 43, "A" * 60, "A" * 5000, "=" * 8])
def test_what_is_no_ticket_is_refused(text: str) -> None:
    assert told(lambda: Links().check(text)) == "LINK_INVALID"


def test_another_servers_ticket_is_refused() -> None:
    text = Links().ticket(Ticket("anna", LATER, RESULT))
    assert told(lambda: Links().check(text)) == "LINK_INVALID"


def test_a_ticket_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    links = Links()
    text = links.ticket(Ticket("anna", 1000, RESULT))
    monkeypatch.setattr(links_module.time, "time_ns", lambda: 999)
    links.check(text)
    monkeypatch.setattr(links_module.time, "time_ns", lambda: 1000)
    assert told(lambda: links.check(text)) == "LINK_EXPIRED"


def test_a_ticket_gives_one_picture_from_any_offset() -> None:
    ticket = Ticket("anna", LATER, RESULT)
    wanted = pb.DownloadImageRequest(result_of="jobs/of-anna", offset=7)
    assert ticket.applied(wanted) == wanted
    assert ticket.applied(pb.DownloadImageRequest(offset=7)) == wanted
    for other in (
        pb.DownloadImageRequest(result_of="jobs/another"),
        pb.DownloadImageRequest(preview_of="jobs/of-anna"),
        pb.DownloadImageRequest(result_of="jobs/of-anna", max_side=64),
        pb.DownloadImageRequest(max_side=64),
    ):
        assert told(lambda other=other: ticket.applied(other)) == "LINK_INVALID"  # type: ignore[misc]


def test_the_key_is_kept_in_the_data_folder(tmp_path: Path) -> None:
    first, second = Links(), Links()
    first.keep_key(tmp_path)
    second.keep_key(tmp_path)
    second.check(first.ticket(Ticket("anna", LATER, RESULT)))
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]
    (tmp_path / KEY_FILE).write_bytes(b"short")
    third = Links()
    third.keep_key(tmp_path)
    assert (tmp_path / KEY_FILE).stat().st_size == 32
    assert told(lambda: third.check(first.ticket(Ticket("anna", LATER, RESULT)))) == "LINK_INVALID"


def test_a_server_that_cannot_write_its_key_has_links_all_the_same(tmp_path: Path) -> None:
    links = Links()
    links.keep_key(tmp_path / "missing")
    links.check(links.ticket(Ticket("anna", LATER, RESULT)))


# Over a real server.


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A data folder with tokens, and the tokens of anna and ben."""
    folder = tmp_path_factory.mktemp("data")
    file = Tokens(folder / "tokens.json")
    return folder, {name: file.add(name) for name in ("anna", "ben")}


@pytest.fixture(scope="module")
def paged(tokens: tuple[Path, dict[str, str]]) -> Iterator[ServerProcess]:
    """A mock server with tokens and a page."""
    arguments = ("--mock", "--port", "0", "--web-port", "0", "--data-dir", str(tokens[0]))
    with running_server(*arguments) as server:
        yield server


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def painted(server: ServerProcess, token: str) -> str:
    """The name of a job that has succeeded."""
    spec = stylize_request().spec
    job = server.stub.CreateJob(pb.CreateJobRequest(spec=spec), metadata=bearer(token), timeout=PATIENCE)
    *_, last = server.stub.WatchJob(
        pb.WatchJobRequest(name=job.name), metadata=bearer(token), timeout=PATIENCE
    )
    assert last.job.state == pb.JOB_STATE_SUCCEEDED
    return job.name


def made_links(server: ServerProcess, token: str, **fields: object) -> pb.CreateImageLinksResponse:
    return server.stub.CreateImageLinks(
        pb.CreateImageLinksRequest(**fields),  # type: ignore[arg-type]
        metadata=bearer(token),
        timeout=PATIENCE,
    )


def load(server: ServerProcess, link: pb.ImageLink, offset: int = 0, **fields: object) -> bytes:
    """Loads a picture as the page does."""
    request = pb.DownloadImageRequest(offset=offset, **fields)  # type: ignore[arg-type]
    metadata = [(links_module.TICKET, link.path.removeprefix("images/"))]
    chunks = server.stub.DownloadImage(request, metadata=metadata, timeout=PATIENCE)
    return b"".join(chunk.data for chunk in chunks)


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None
    return caught.value.code(), reason_of(status)


def test_a_picture_is_loaded_with_a_link_and_without_a_token(
    paged: ServerProcess, tokens: tuple[Path, dict[str, str]]
) -> None:
    anna = tokens[1]["anna"]
    name = painted(paged, anna)
    sources = [
        pb.DownloadImageRequest(result_of=name),
        pb.DownloadImageRequest(result_of=name, max_side=16),
        pb.DownloadImageRequest(sha256="f" * 64),
    ]
    answer = made_links(paged, anna, sources=sources)
    whole, small, missing = answer.links
    [*chunks] = paged.stub.DownloadImage(sources[0], metadata=bearer(anna), timeout=PATIENCE)
    picture = b"".join(chunk.data for chunk in chunks)
    assert load(paged, whole) == picture
    assert load(paged, whole, 9) == picture[9:]
    assert load(paged, small).startswith(b"\xff\xd8")
    assert refusal(lambda: load(paged, missing))[0] == grpc.StatusCode.NOT_FOUND
    invalid = (grpc.StatusCode.UNAUTHENTICATED, "LINK_INVALID")
    assert refusal(lambda: load(paged, whole, sha256="f" * 64)) == invalid
    assert refusal(lambda: load(paged, pb.ImageLink(path="images/" + "A" * 99))) == invalid
    # A ticket is for this call only.
    ticket = [(links_module.TICKET, whole.path.removeprefix("images/"))]
    listing = lambda: paged.stub.ListJobs(pb.ListJobsRequest(), metadata=ticket, timeout=PATIENCE)  # noqa: E731
    assert refusal(listing) == (grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN")
    # Another tenant can make a link, which shows nothing.
    [others] = made_links(paged, tokens[1]["ben"], sources=sources[:1]).links
    assert refusal(lambda: load(paged, others))[0] == grpc.StatusCode.NOT_FOUND


def large_picture() -> bytes:
    """A picture of 7.7 MB, more than what is sent ahead of a reader."""
    pixels = np.random.default_rng(1).integers(0, 256, (1600, 1600, 3), dtype=np.uint8)
    return coded(PIL.Image.fromarray(pixels))


def test_whoever_has_links_takes_none_of_their_owners_streams(tmp_path: Path) -> None:
    file = Tokens(tmp_path / "tokens.json")
    anna = file.add("anna")
    arguments = ("--mock", "--port", "0", "--web-port", "0", "--data-dir", str(tmp_path))
    with running_server(*arguments, "--max-streams-per-tenant", "1") as server:
        content = large_picture()
        sent = server.stub.CreateJob(
            pb.CreateJobRequest(spec=stylize_request(content).spec), metadata=bearer(anna), timeout=PATIENCE
        )
        job = server.stub.GetJob(pb.GetJobRequest(name=sent.name), metadata=bearer(anna), timeout=PATIENCE)
        image = pb.DownloadImageRequest(sha256=job.spec.content.sha256)
        reduced = pb.DownloadImageRequest(sha256=job.spec.content.sha256, max_side=64)
        link, other = made_links(server, anna, sources=[image, reduced]).links

        ticket = [(links_module.TICKET, link.path.removeprefix("images/"))]
        readers = [
            server.stub.DownloadImage(pb.DownloadImageRequest(), metadata=ticket, timeout=PATIENCE)
            for _ in range(MAX_CALLS_OF_LINK)
        ]
        for reader in readers:
            next(reader)
        assert refusal(lambda: load(server, link)) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_CALLS",
        )
        assert load(server, other).startswith(b"\xff\xd8")
        chunks = server.stub.DownloadImage(image, metadata=bearer(anna), timeout=PATIENCE)
        assert b"".join(chunk.data for chunk in chunks) == content
        for reader in readers:
            reader.cancel()
        until(lambda: load_or_reason(server, link), lambda told: told == content)


def test_links_have_a_lifetime(paged: ServerProcess, tokens: tuple[Path, dict[str, str]]) -> None:
    anna = tokens[1]["anna"]
    source = [pb.DownloadImageRequest(sha256="f" * 64)]
    answer = made_links(paged, anna, sources=source, lifetime=Duration(seconds=1))
    until(
        lambda: refusal(lambda: load(paged, answer.links[0])),
        lambda told: told == (grpc.StatusCode.UNAUTHENTICATED, "LINK_EXPIRED"),
    )


def test_faults_of_a_request_for_links_are_named(
    paged: ServerProcess, tokens: tuple[Path, dict[str, str]]
) -> None:
    sources = [
        pb.DownloadImageRequest(),
        pb.DownloadImageRequest(sha256="f" * 64, offset=1),
        pb.DownloadImageRequest(preview_of="jobs/a", max_side=100),
        pb.DownloadImageRequest(sha256="f" * 64, format=pb.IMAGE_FORMAT_PNG),
    ]
    with pytest.raises(grpc.RpcError) as caught:
        made_links(paged, tokens[1]["anna"], sources=sources, lifetime=Duration(seconds=86_401))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    message = caught.value.details()
    assert message.startswith("lifetime is 86401 s; give 1 s to 86400 s; sources[0].result_of is missing")
    assert message.endswith("and 2 more")
    for faulty in (
        [pb.DownloadImageRequest(sha256="f")] * 201,
        [pb.DownloadImageRequest(result_of="jobs/" + "a" * 2000)],
    ):
        with pytest.raises(grpc.RpcError) as caught:
            made_links(paged, tokens[1]["anna"], sources=faulty)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_links_survive_a_restart_and_end_with_the_tenants_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    anna = tokens.add("anna")
    tokens.add("ben")
    arguments = ("--mock", "--port", "0", "--web-port", "0", "--data-dir", str(tmp_path))
    with running_server(*arguments) as server:
        image = coded(photo())
        sent = server.stub.CreateJob(
            pb.CreateJobRequest(spec=stylize_request(image).spec), metadata=bearer(anna), timeout=PATIENCE
        )
        job = server.stub.GetJob(pb.GetJobRequest(name=sent.name), metadata=bearer(anna), timeout=PATIENCE)
        source = pb.DownloadImageRequest(sha256=job.spec.content.sha256)
        [link] = made_links(server, anna, sources=[source]).links
        assert load(server, link) == image
    with running_server(*arguments) as server:
        assert load(server, link) == image
        tokens.remove("anna")
        until(
            lambda: load_or_reason(server, link),
            lambda told: told == (grpc.StatusCode.UNAUTHENTICATED, "LINK_INVALID"),
        )


def test_a_download_by_link_ends_with_the_tenants_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    anna, root = tokens.add("anna"), tokens.add("root", administrator=True)
    arguments = ("--mock", "--port", "0", "--web-port", "0", "--data-dir", str(tmp_path))
    with running_server(*arguments) as server:
        spec = stylize_request(large_picture()).spec
        sent = server.stub.CreateJob(pb.CreateJobRequest(spec=spec), metadata=bearer(anna), timeout=PATIENCE)
        job = server.stub.GetJob(pb.GetJobRequest(name=sent.name), metadata=bearer(anna), timeout=PATIENCE)
        source = pb.DownloadImageRequest(sha256=job.spec.content.sha256)
        [link] = made_links(server, anna, sources=[source]).links
        ticket = [(links_module.TICKET, link.path.removeprefix("images/"))]
        reader = server.stub.DownloadImage(pb.DownloadImageRequest(), metadata=ticket, timeout=PATIENCE)
        next(reader)
        admin = admin_pb2_grpc.AdminStub(server.channel)

        def open_streams() -> int:
            request = admin_pb2.GetStatusRequest()
            return int(admin.GetStatus(request, metadata=bearer(root), timeout=PATIENCE).open_streams)

        assert open_streams() == 1
        tokens.remove("anna")
        until(open_streams, lambda number: number == 0)
        assert refusal(lambda: list(reader)) == (grpc.StatusCode.UNAUTHENTICATED, "LINK_INVALID")


def load_or_reason(server: ServerProcess, link: pb.ImageLink) -> object:
    try:
        return load(server, link)
    except grpc.RpcError:
        return refusal(lambda: load(server, link))


def test_a_server_without_a_page_makes_no_links() -> None:
    with running_server("--mock", "--port", "0") as server:
        request = pb.CreateImageLinksRequest(sources=[RESULT])
        told = refusal(lambda: server.stub.CreateImageLinks(request, timeout=PATIENCE))
        assert told == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PAGE")
        assert not server.info().HasField("page")
