"""A painting over a fake transport that plays back a list of messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

import impasto
from impasto import patience
from impasto.painting import Painting
from impasto.transport import TransportError
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.fake_server import chunks, job, paint, png, succeeded


class Messages:
    """A transport whose streams play back lists of messages. An exception in a list is raised.

    Attributes:
        called: the names of the calls made, in their order.
        streams: what each stream that is begun gives.
    """

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = list(streams)
        self.called: list[str] = []

    def unary(self, method: Any, request: Any, *, timeout: float) -> Any:
        self.called.append(method.path.rpartition("/")[2])
        assert isinstance(request, pb.CancelJobRequest)
        return pb.Job(name=request.name, state=pb.JOB_STATE_CANCELLED)

    def upload(self, method: Any, requests: Any, *, timeout: float) -> Any:
        raise AssertionError

    def stream(self, method: Any, request: Any, *, timeout: float | None) -> Any:
        self.called.append(method.path.rpartition("/")[2])
        if not self.streams:
            raise AssertionError("no more streams are expected")
        return Scripted(self.streams.pop(0))

    def close(self) -> None:
        pass


class Scripted:
    def __init__(self, messages: list[Any]) -> None:
        self._messages = iter(messages)
        self._cancelled = False

    def receive(self, timeout: float | None) -> Any:
        if self._cancelled:
            raise TransportError("CANCELLED", "by the caller")
        message = next(self._messages, None)
        if isinstance(message, BaseException):
            raise message
        return message

    def cancel(self) -> None:
        self._cancelled = True


def numbered(messages: Iterable[Any]) -> list[Any]:
    """Returns the messages, with a sequence number for each event that has none."""
    numbered, sequence = [], 0
    for message in messages:
        if isinstance(message, pb.StylizeResponse) and message.HasField("event"):
            copy = pb.StylizeResponse()
            copy.CopyFrom(message)
            sequence = copy.event.sequence = copy.event.sequence or sequence + 1
            message = copy
        numbered.append(message)
    return numbered


def painting_of(
    *messages: Any, then: Sequence[list[Any]] = (), transport: Messages | None = None
) -> Painting:
    """Returns a painting whose first stream has these messages; `then` has the later streams."""
    transport = transport or Messages()
    transport.streams = [numbered(messages), *then]
    client = impasto.Client("127.0.0.1:1", transport=lambda endpoint: transport, patience=0.5)
    return client.stylize(png(), png())


def result(*pieces: pb.ImageChunk) -> list[pb.StylizeResponse]:
    return [pb.StylizeResponse(result=piece) for piece in pieces]


QUEUED = job(pb.JOB_STATE_QUEUED)


def test_events_come_before_the_picture() -> None:
    painting = painting_of(*paint())
    assert painting.job.state == "queued"
    events = list(painting)
    assert [type(event).__name__ for event in events] == [
        "JobChanged",
        "JobChanged",
        *["Progress", "Preview"] * 4,
        "JobChanged",
    ]
    assert painting.skipped_previews == 4
    assert painting.progress == events[-3]
    picture = painting.result()
    assert picture.data == png()
    assert picture.image.size == (picture.width, picture.height) == (48, 32)
    assert picture.metadata == fake_server.METADATA
    assert picture.job.stop_reason == "completed"
    assert picture.job.recipe.evaluations == 4
    assert painting.result() is picture


def test_previews_are_pictures() -> None:
    previews = [event for event in painting_of(*paint()) if isinstance(event, impasto.Preview)]
    assert [preview.image.size for preview in previews] == [(24, 16), (24, 16), (48, 32), (48, 32)]


def test_result_waits_without_iterating() -> None:
    assert painting_of(*paint()).result().data == png()


def test_unknown_events_of_a_newer_server_are_ignored() -> None:
    newer_job = job(17)  # type: ignore[arg-type]
    painting = painting_of(
        QUEUED, pb.StylizeResponse(), pb.StylizeResponse(event=pb.JobEvent()), newer_job, *paint()
    )
    states = [event.job.state for event in painting if isinstance(event, impasto.JobChanged)]
    assert states == ["queued", "unknown (17)", "queued", "running", "succeeded"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [QUEUED, succeeded(), *result(*chunks(png(200, 200))[1:])],
        [QUEUED, succeeded(), *result(chunks(png())[0], chunks(png())[0])],
        [QUEUED, succeeded(), *result(*chunks(png())[:-1], pb.ImageChunk(offset=9, data=b"more"))],
        [QUEUED, succeeded(), *result(*chunks(png()), pb.ImageChunk(offset=len(png()), data=b"more"))],
        [fake_server.preview(1), *paint()],
        result(*chunks(png())),
    ],
    ids=[
        "nothing",
        "first piece missing",
        "a piece twice",
        "a piece of elsewhere",
        "too long",
        "not begun with the job",
        "picture without a job",
    ],
)
def test_an_incomplete_stream_is_data_loss(messages: list[pb.StylizeResponse]) -> None:
    with pytest.raises(impasto.DataLoss):
        painting_of(*messages).result()


@pytest.mark.parametrize("there", range(len(chunks(png(), size=100))))
def test_missing_bytes_of_a_picture_are_downloaded(there: int) -> None:
    pieces = chunks(png(), size=100)
    rest = [
        pb.ImageChunk(info=pieces[0].info, offset=piece.offset, data=piece.data) for piece in pieces[there:]
    ]
    transport = Messages()
    painting = painting_of(
        QUEUED, succeeded(), *result(*pieces[:there]), then=[rest[:1], rest[1:]], transport=transport
    )
    assert painting.result().data == png()
    assert set(transport.called[1:]) == {"DownloadImage"}


def test_a_server_that_keeps_ending_streams_early_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_DELAY", 0)
    transport = Messages()
    again = [[event.event for event in numbered([QUEUED])] for _ in range(8)]
    with pytest.raises(impasto.DataLoss, match="ended before the job did"):
        painting_of(QUEUED, then=again, transport=transport).result()
    assert transport.called == ["Stylize", *["WatchJob"] * 8, "CancelJob"]


@given(st.data())
def test_a_damaged_picture_is_data_loss(data: st.DataObject) -> None:
    pieces = chunks(png(), size=64)
    piece = data.draw(st.sampled_from(pieces))
    where = data.draw(st.integers(0, len(piece.data) - 1))
    damaged = bytearray(piece.data)
    damaged[where] ^= data.draw(st.integers(1, 255))
    piece.data = bytes(damaged)
    with pytest.raises(impasto.DataLoss, match="SHA-256"):
        painting_of(QUEUED, succeeded(), *result(*pieces)).result()


def test_a_failed_job_raises_its_error_every_time() -> None:
    failure = status_pb2.Status(code=3, message="spec.content cannot be decoded")
    painting = painting_of(QUEUED, job(pb.JOB_STATE_FAILED, error=failure))
    for _ in range(2):
        with pytest.raises(impasto.InvalidRequest, match="cannot be decoded"):
            painting.result()
    assert painting.job.state == "failed"
    assert isinstance(painting.job.error, impasto.InvalidRequest)


def test_a_lost_connection_raises_an_error_after_a_while() -> None:
    broken = TransportError("UNAVAILABLE", "Socket closed")
    painting = painting_of(QUEUED, broken, then=[[broken]] * 20)
    with pytest.raises(
        impasto.Unavailable, match=r"connection to 127.0.0.1:1 broke \(Socket closed\)"
    ) as caught:
        painting.result()
    assert not isinstance(caught.value, impasto.Unreachable)


def test_a_job_cancelled_by_another_caller_raises_job_cancelled() -> None:
    painting = painting_of(QUEUED, job(pb.JOB_STATE_CANCELLED, stop_message="the operator said so"))
    with pytest.raises(impasto.JobCancelled, match="operator"):
        painting.result()


def test_cancel() -> None:
    transport = Messages()
    painting = painting_of(*paint(), transport=transport)
    painting.cancel()
    painting.cancel()
    with pytest.raises(impasto.JobCancelled):
        painting.result()
    assert transport.called == ["Stylize", "CancelJob"]
    assert painting.job.state == "cancelled"


def test_leaving_early_cancels() -> None:
    transport = Messages()
    with painting_of(*paint(), transport=transport) as painting:
        next(painting)
    assert transport.called == ["Stylize", "CancelJob"]


def test_leaving_after_the_end_does_not_cancel() -> None:
    transport = Messages()
    with painting_of(*paint(), transport=transport) as painting:
        painting.result()
    assert transport.called == ["Stylize"]


def test_leave_stops_watching() -> None:
    transport = Messages()
    painting = painting_of(*paint(), transport=transport)
    painting.leave()
    with pytest.raises(impasto.ImpastoError, match="not watched any more"):
        painting.result()
    assert transport.called == ["Stylize"]


def test_ctrl_c_cancels() -> None:
    transport = Messages()
    painting = painting_of(QUEUED, KeyboardInterrupt(), transport=transport)
    with pytest.raises(KeyboardInterrupt):
        painting.result()
    assert transport.called == ["Stylize", "CancelJob"]


def test_ctrl_c_before_the_job_is_accepted_asks_for_its_name_and_cancels() -> None:
    transport = Messages()
    with pytest.raises(KeyboardInterrupt):
        painting_of(KeyboardInterrupt(), then=[[QUEUED]], transport=transport)
    assert transport.called == ["Stylize", "Stylize", "CancelJob"]


def test_saving_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = painting_of(*paint()).result()
    target = tmp_path / "out.png"
    target.write_bytes(b"older")

    def no_space(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            picture.save(target)
    assert target.read_bytes() == b"older"
    picture.save(target)
    assert target.read_bytes() == picture.data
    assert list(tmp_path.iterdir()) == [target]


def test_saving_follows_links_and_uses_the_umask(tmp_path: Path) -> None:
    picture = painting_of(*paint()).result()
    link, target = tmp_path / "link.png", tmp_path / "target.png"
    link.symlink_to(target)
    picture.save(link)
    assert link.is_symlink()
    assert target.read_bytes() == picture.data
    (tmp_path / "plain").write_bytes(b"")
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
