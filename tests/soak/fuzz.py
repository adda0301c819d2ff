"""Sends a server malformed requests and images of all kinds, over a real socket.

    python tests/soak/fuzz.py --inputs 20000

No call may end with INTERNAL or UNKNOWN, no process may die, and the server must still work afterwards.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import DecodeError, Message

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, mask, photo, stylize_request
from support.server_process import ServerProcess, running_server, until

SERVICE = "impasto.v1.StyleTransfer"
ALLOWED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    # This program itself cancels a watched stream after a moment.
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


def requests(job: str) -> dict[str, Message]:
    """A valid request of each call."""
    paint = stylize_request(recipe=pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1))
    paint.spec.regions.add(content_mask=pb.Image(encoded=coded(mask())), style=0)
    paint.preview.max_side = 64
    paint.linger.seconds = 1
    update = pb.UpdateJobRequest(
        job=pb.Job(name=job, recipe=pb.Recipe(content_weight=1), title="a"),
        update_mask=FieldMask(paths=["recipe.content_weight", "title", "preview.max_side"]),
    )
    wait = pb.GetPreviewRequest(name=job)
    wait.wait.nanos = 1000
    return {
        "Stylize": paint,
        "CreateJob": pb.CreateJobRequest(spec=paint.spec, request_id="r", title="t", priority=1),
        "GetJob": pb.GetJobRequest(name=job),
        "ListJobs": pb.ListJobsRequest(page_size=5, states=[1, 2], page_token="abc"),
        "UpdateJob": update,
        "PauseJob": pb.PauseJobRequest(name=job),
        "ResumeJob": pb.ResumeJobRequest(name=job),
        "CancelJob": pb.CancelJobRequest(name=job),
        "DeleteJob": pb.DeleteJobRequest(name=job),
        "WatchJob": pb.WatchJobRequest(name=job, after_sequence=5),
        "GetPreview": wait,
        "UploadImage": pb.UploadImageRequest(sha256="a" * 64, size_bytes=10, offset=0, data=b"12345"),
        "DownloadImage": pb.DownloadImageRequest(result_of=job, format=2, offset=3),
        "ListStyles": pb.ListStylesRequest(page_size=3, page_token="eA=="),
        "GetServerInfo": pb.GetServerInfoRequest(),
    }


class Mutator:
    """Makes valid data invalid."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def bytes(self, data: bytes) -> bytes:
        """Makes a few changes of the kinds that break parsers."""
        changed = bytearray(data)
        for _ in range(self._random.choice([1, 1, 2, 5])):
            at = self._random.randrange(len(changed) + 1)
            kind = self._random.randrange(6)
            if kind == 0 and changed:
                changed[at % len(changed)] ^= 1 << self._random.randrange(8)
            elif kind == 1 and changed:
                changed[at % len(changed)] = self._random.choice([0, 1, 0x7F, 0x80, 0xFF])
            elif kind == 2:
                changed[at:at] = self._random.randbytes(self._random.randrange(1, 12))
            elif kind == 3:
                del changed[at : at + self._random.randrange(1, 24)]
            elif kind == 4:
                changed[at : at + 8] = changed[: self._random.randrange(8)]
            else:
                del changed[at:]
        return bytes(changed)

    def message(self, good: Message) -> Message:
        """A message that can be parsed but makes no sense."""
        while True:
            try:
                bad = type(good).FromString(self.bytes(good.SerializeToString()))
            except DecodeError:
                continue
            return bad

    def image(self, files: list[bytes]) -> bytes:
        return self.bytes(self._random.choice(files))

    def choice(self, names: list[str]) -> str:
        return self._random.choice(names)

    def chance(self, share: float) -> bool:
        return self._random.random() < share


def fuzz(server: ServerProcess, inputs: int, seed: int, say: Callable[[str], None]) -> dict[str, int]:
    """Sends a number of inputs. Returns how many calls ended with each status code."""
    mutator = Mutator(seed)
    server.ready()
    good = requests(server.stub.CreateJob(requests("")["CreateJob"], timeout=60).name)
    files = [coded(photo(40, 30), format) for format in ("PNG", "JPEG", "WEBP", "TIFF")]
    service = pb.DESCRIPTOR.services_by_name["StyleTransfer"]
    streams = {"Stylize", "WatchJob", "DownloadImage"}
    counts: dict[str, int] = {}
    for number in range(inputs):
        if mutator.chance(0.1):
            name, request = "Stylize", stylize_request(
                mutator.image(files), recipe=pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1)
            )  # fmt: skip
        else:
            name = mutator.choice(list(good))
            request = mutator.message(good[name])
        response = service.methods_by_name[name].output_type._concrete_class
        path = f"/{SERVICE}/{name}"
        code = _ending(server.channel, path, name, request, response, streams)
        assert code in ALLOWED, (name, code, request)
        counts[code.name] = counts.get(code.name, 0) + 1
        assert server.process.poll() is None, "the server is gone"
        if number % 2000 == 1999:
            say(f"{number + 1} inputs")
    info = server.info()
    assert info.devices[0].restarts == 0, "a worker was lost"
    until(server.info, lambda info: info.unfinished_jobs == 0)
    *_, last = server.stub.Stylize(stylize_request(), timeout=60)
    assert last.HasField("result")
    assert "call failed" not in server.log, "the server had an internal error"
    assert "Traceback" not in server.log
    return counts


def _ending(
    channel: grpc.Channel, path: str, name: str, request: Message, response: type[Message], streams: set[str]
) -> grpc.StatusCode:
    options = {
        "request_serializer": lambda m: m.SerializeToString(),
        "response_deserializer": response.FromString,
    }
    try:
        if name == "UploadImage":
            channel.stream_unary(path, **options)(iter([request, request]), timeout=10)
        elif name in streams:
            for _ in channel.unary_stream(path, **options)(request, timeout=10 if name == "Stylize" else 0.2):
                pass
        else:
            channel.unary_unary(path, **options)(request, timeout=10)
    except grpc.RpcError as error:
        return error.code()  # type: ignore[attr-defined,no-any-return]
    return grpc.StatusCode.OK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begin = time.monotonic()
    more = ("--max-jobs-per-tenant", "1000", "--private", "--device", "cpu", "--weights", "builtin")
    with running_server(*more) as server:
        counts = fuzz(server, arguments.inputs, arguments.seed, lambda line: print(line, flush=True))
    print(f"{time.monotonic() - begin:.0f} s; " + ", ".join(f"{k}: {v}" for k, v in sorted(counts.items())))


if __name__ == "__main__":
    main()
