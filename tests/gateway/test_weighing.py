"""The measured size of messages without their images."""

from __future__ import annotations

import random
import tracemalloc

import hypothesis
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import DecodeError, Message
from hypothesis import strategies

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway.weighing import MAX_FIELDS, Malformed, Overweight, weigh
from support.samples import stylize_request

MOST = 1000


def weigh_request(message: Message, most: int = MOST) -> None:
    weigh(message.SerializeToString(), message.DESCRIPTOR, most)


def test_images_do_not_count() -> None:
    request = stylize_request(bytes(100_000))
    request.spec.styles.add(image=pb.Image(raw=pb.RawPixels(width=9, height=9, rgba=bytes(100_000))))
    weigh_request(request)
    weigh_request(pb.UploadImageRequest(sha256="a" * 64, size_bytes=1 << 40, data=bytes(100_000)))


@pytest.mark.parametrize(
    "message",
    [
        pb.GetJobRequest(name="x" * 1001),
        pb.CreateJobRequest(title="x" * 1001),
        pb.CreateJobRequest(spec=pb.JobSpec(styles=[pb.Style(image=pb.Image(style="x" * 990))])),
        pb.ListJobsRequest(states=[pb.JOB_STATE_RUNNING] * 1001),
        pb.UpdateJobRequest(update_mask=FieldMask(paths=["title"] * 150)),
    ],
)
def test_everything_but_images_counts(message: Message) -> None:
    with pytest.raises(Overweight, match="1,000 bytes"):
        weigh_request(message)
    weigh_request(message, 10_000)


def test_small_fields_count() -> None:
    for number, fits in ((MAX_FIELDS - 1, True), (MAX_FIELDS, False)):
        message = pb.CreateJobRequest(spec=pb.JobSpec(styles=[pb.Style()] * number))
        if fits:
            weigh_request(message, 1 << 20)
        else:
            with pytest.raises(Overweight, match="4,096 fields"):
                weigh_request(message, 1 << 20)


def test_each_number_of_a_list_counts_as_a_field() -> None:
    weigh_request(pb.ListJobsRequest(states=[pb.JOB_STATE_RUNNING] * (MAX_FIELDS - 1)), 1 << 20)
    with pytest.raises(Overweight, match="4,096 fields"):
        weigh_request(pb.ListJobsRequest(states=[pb.JOB_STATE_RUNNING] * MAX_FIELDS), 1 << 20)


def test_unknown_fields_count() -> None:
    unknown = b"\x82\x7d\xe9\x07" + bytes(1001)
    with pytest.raises(Overweight):
        weigh(unknown, pb.GetJobRequest.DESCRIPTOR, MOST)
    # Bytes count as an image only in a field for images.
    weigh(unknown, pb.GetJobRequest.DESCRIPTOR, 2000)


def test_weighing_takes_no_memory() -> None:
    data = b"\x0a\x80\x80\x80\x08" + b"\x12\x00" * (1 << 23)
    tracemalloc.start()
    with pytest.raises(Overweight):
        weigh(data, pb.CreateJobRequest.DESCRIPTOR, 1 << 18)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a", b"\x0a\x05ab", b"\x07", b"\x0d\x00", b"\x80" * 20]
)
def test_bytes_that_are_not_a_message_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        weigh(data, pb.GetJobRequest.DESCRIPTOR, MOST)


@hypothesis.given(strategies.binary(max_size=60), strategies.integers(0, 2**32))
def test_every_message_that_can_be_parsed_can_be_weighed(noise: bytes, seed: int) -> None:
    good = bytearray(stylize_request(b"content", title="a", request_id="b").SerializeToString())
    chance = random.Random(seed)
    for data in (noise, bytes(good[: chance.randrange(len(good))]) + noise):
        try:
            parsed = pb.StylizeRequest.FromString(data)
        except DecodeError:
            continue
        # The parser may accept odd messages that the check refuses, but never the other way round.
        try:
            weigh(data, parsed.DESCRIPTOR, 1 << 20)
        except Malformed:
            assert parsed.SerializeToString(deterministic=True) != data
