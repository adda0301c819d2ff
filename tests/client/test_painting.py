"""A painting against a transport that is nothing but a list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

import fake_server
import impasto
from fake_server import chunks, job, paint, png, succeeded
from impasto.painting import Painting
from impasto.transport import TransportError
from impasto.v1 import style_transfer_pb2 as pb


class Messages:
    """A stream of messages made beforehand; an exception among them is raised."""

    def __init__(self, *messages: pb.StylizeResponse | BaseException) -> None:
        self._messages = iter(messages)
        self.cancelled = False

    def __iter__(self) -> Iterator[pb.StylizeResponse]:
        return self

    def __next__(self) -> pb.StylizeResponse:
        if self.cancelled:
            raise TransportError("CANCELLED", "by the caller")
        message = next(self._messages)
        if isinstance(message, BaseException):
            raise message
        return message

    def cancel(self) -> None:
        self.cancelled = True


def result(*pieces: pb.ImageChunk) -> list[pb.StylizeResponse]:
    return [pb.StylizeResponse(result=piece) for piece in pieces]


QUEUED = job(pb.JOB_STATE_QUEUED)


def test_events_then_the_picture() -> None:
    painting = Painting(Messages(*paint()))
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
    previews = [event for event in Painting(Messages(*paint())) if isinstance(event, impasto.Preview)]
    assert [preview.image.size for preview in previews] == [(24, 16), (24, 16), (48, 32), (48, 32)]


def test_result_alone_waits_to_the_end() -> None:
    assert Painting(Messages(*paint())).result().data == png()


def test_what_a_newer_server_sends_is_passed_over() -> None:
    newer_job = job(17)  # type: ignore[arg-type]
    painting = Painting(
        Messages(QUEUED, pb.StylizeResponse(), pb.StylizeResponse(event=pb.JobEvent()), newer_job, *paint())
    )
    states = [event.job.state for event in painting if isinstance(event, impasto.JobChanged)]
    assert states == ["queued", "unknown (17)", "queued", "running", "succeeded"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [QUEUED],
        [*fake_server.begin()],
        [QUEUED, succeeded()],
        [QUEUED, succeeded(), *result(*chunks(png())[:-1])],
        [QUEUED, succeeded(), *result(*chunks(png(200, 200))[1:])],
        [QUEUED, succeeded(), *result(chunks(png())[0], chunks(png())[0])],
        [QUEUED, succeeded(), *result(chunks(png())[0], pb.ImageChunk(offset=500, data=b"more"))],
        [fake_server.preview(1), *paint()],
        result(*chunks(png())),
    ],
    ids=[
        "nothing",
        "only accepted",
        "no end",
        "no picture",
        "last piece missing",
        "first piece missing",
        "a piece twice",
        "too long",
        "not begun with the job",
        "picture without a job",
    ],
)
def test_a_stream_that_is_not_whole(messages: list[pb.StylizeResponse]) -> None:
    with pytest.raises(impasto.DataLoss):
        Painting(Messages(*messages)).result()


@given(st.data())
def test_no_damage_goes_unnoticed(data: st.DataObject) -> None:
    pieces = chunks(png(), size=64)
    piece = data.draw(st.sampled_from(pieces))
    where = data.draw(st.integers(0, len(piece.data) - 1))
    damaged = bytearray(piece.data)
    damaged[where] ^= data.draw(st.integers(1, 255))
    piece.data = bytes(damaged)
    with pytest.raises(impasto.DataLoss, match="SHA-256"):
        Painting(Messages(QUEUED, succeeded(), *result(*pieces))).result()


def test_a_failed_job_raises_from_the_tree_and_goes_on_doing_so() -> None:
    failure = status_pb2.Status(code=3, message="spec.content cannot be decoded")
    painting = Painting(Messages(QUEUED, job(pb.JOB_STATE_FAILED, error=failure)))
    for _ in range(2):
        with pytest.raises(impasto.InvalidRequest, match="cannot be decoded"):
            painting.result()
    assert painting.job.state == "failed"
    assert isinstance(painting.job.error, impasto.InvalidRequest)


def test_the_connection_breaks() -> None:
    painting = Painting(Messages(QUEUED, TransportError("UNAVAILABLE", "Socket closed")))
    with pytest.raises(
        impasto.Unavailable, match=r"connection to the server broke \(Socket closed\)"
    ) as caught:
        painting.result()
    assert not isinstance(caught.value, impasto.Unreachable)


def test_a_job_cancelled_by_someone_else() -> None:
    painting = Painting(Messages(QUEUED, job(pb.JOB_STATE_CANCELLED, stop_message="the operator said so")))
    with pytest.raises(impasto.JobCancelled, match="operator"):
        painting.result()


def test_cancel() -> None:
    stream = Messages(*paint())
    painting = Painting(stream)
    painting.cancel()
    with pytest.raises(impasto.JobCancelled):
        painting.result()
    assert stream.cancelled


def test_leaving_early_cancels() -> None:
    stream = Messages(*paint())
    with Painting(stream) as painting:
        next(painting)
    assert stream.cancelled


def test_ctrl_c_cancels() -> None:
    stream = Messages(QUEUED, KeyboardInterrupt())
    painting = Painting(stream)
    with pytest.raises(KeyboardInterrupt):
        painting.result()
    assert stream.cancelled


def test_ctrl_c_before_the_job_is_accepted_cancels() -> None:
    stream = Messages(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Painting(stream)
    assert stream.cancelled


def test_save_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Painting(Messages(*paint())).result()
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


def test_save_follows_a_link_and_keeps_to_the_umask(tmp_path: Path) -> None:
    picture = Painting(Messages(*paint())).result()
    link, target = tmp_path / "link.png", tmp_path / "target.png"
    link.symlink_to(target)
    picture.save(link)
    assert link.is_symlink()
    assert target.read_bytes() == picture.data
    (tmp_path / "plain").write_bytes(b"")
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
