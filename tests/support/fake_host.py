"""A host without widgets, and a service without a network, for tests of the controller.

The host's main thread is that of the test: posted calls wait until the test runs them (`FakeHost.until`), and
time passes only when the test says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from impasto.errors import FailedPrecondition, ImpastoError, JobCancelled, NotFound, Unreachable
from impasto.hosts import CannotPlace, Painted, Server, Timing
from impasto.job import (
    Device,
    Event,
    Job,
    JobChanged,
    Limits,
    NamedStyle,
    Preview,
    Progress,
    ServerInfo,
)
from impasto.picture import CodedImage
from impasto.recipe import RawPixels, Recipe, Style, StyleName, UploadedImage

PATIENCE = 60.0


def jpeg(width: int = 64, height: int = 48, note: bytes = b"") -> bytes:
    """Returns a JPEG up to its frame's header, with a note in it."""
    told = b"\xff\xfe" + (2 + len(note)).to_bytes(2, "big") + note
    return b"\xff\xd8" + told + struct.pack(">BBHBHHB", 0xFF, 0xC0, 11, 8, height, width, 1) + b"\1\x11\0"


class FakeHost:
    """A host: a queue of posted calls, a clock that the test moves, and the pictures that were placed."""

    def __init__(self) -> None:
        self.main = threading.get_ident()
        self.placed: list[Painted] = []
        self.refuses: Exception | None = None
        self.now = 0.0
        self._posted: queue.Queue[Callable[[], None]] = queue.Queue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def post(self, call: Callable[[], None]) -> None:
        self._posted.put(call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        assert threading.get_ident() == self.main
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), call))

    def decode(self, preview: Preview, place: dict[str, Any]) -> str:
        assert threading.get_ident() != self.main
        assert place
        return f"decoded {preview.evaluation}"

    def decode_result(self, image: CodedImage, place: dict[str, Any]) -> CodedImage:
        assert threading.get_ident() != self.main
        assert place
        return image

    def thumbnail(self, picture: CodedImage) -> bytes:
        assert threading.get_ident() != self.main
        return jpeg(note=picture.format.encode())

    def place(self, painted: Painted) -> None:
        assert threading.get_ident() == self.main
        if self.refuses is not None:
            raise self.refuses
        self.placed.append(painted)

    @property
    def waits(self) -> list[float]:
        """Remaining seconds of the timers."""
        return sorted(at - self.now for at, _, _ in self._timers)

    def run(self) -> None:
        """Makes the posted calls."""
        while True:
            try:
                call = self._posted.get_nowait()
            except queue.Empty:
                return
            call()

    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.run()
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()
            self.run()

    def until(self, is_so: Callable[[], Any]) -> None:
        """Runs the main thread until a condition is true; time does not pass."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, "the condition did not become true"
            try:
                call = self._posted.get(timeout=0.005)
            except queue.Empty:
                continue
            call()

    def settle(self, seconds: float = 0.05) -> None:
        """Runs the main thread for a moment of real time, for something that must not happen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.run()
            time.sleep(0.002)

    def cannot_place(self) -> None:
        self.refuses = CannotPlace("There is no document. Open one.")


class FakeStorage:
    """A storage in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def read(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def write(self, key: str, data: bytes) -> None:
        self.kept[key] = data

    def remove(self, key: str) -> None:
        self.kept.pop(key, None)

    def locked(self) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()


class FakeJob:
    """A job, its watchers, and the calls about it."""

    def __init__(self, job: Job, request: dict[str, Any]) -> None:
        self.job = job
        self.request = request
        self.updates: list[dict[str, Any]] = []
        self.watchers: list[queue.Queue[Event | ImpastoError | None]] = []
        self.missed: list[Event] = []
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        with self._lock:
            if not self.watchers:
                self.missed.append(event)
            for watcher in self.watchers:
                watcher.put(event)

    def watch(self) -> queue.Queue[Event | ImpastoError | None]:
        with self._lock:
            events: queue.Queue[Event | ImpastoError | None] = queue.Queue()
            events.put(JobChanged(self.job))
            for event in self.missed:
                events.put(event)
            self.missed.clear()
            self.watchers.append(events)
            return events

    def lose(self, events: queue.Queue[Event | ImpastoError | None], why: ImpastoError | None) -> None:
        with self._lock:
            if events in self.watchers:
                self.watchers.remove(events)
                events.put(why)


class FakeService:
    """A service without a network. It records its calls, and blocks or fails them as the test says.

    Attributes:
        calls: names of the calls made, in order.
        up: whether it can be reached; taking it down breaks calls in progress.
        errors: errors that the next calls of a name raise, in order.
        gates: calls of these names wait until their event is set.
    """

    def __init__(self) -> None:
        self.up = True
        self.calls: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        self.gates: dict[str, threading.Event] = {}
        self.jobs: dict[str, FakeJob] = {}
        self.uploads: list[bytes] = []
        self.forgets_uploads = False
        self.clients: list[FakeClient] = []
        self.styles = [NamedStyle("styles/starry-night", "The Starry Night", 100, 80, jpeg())]
        self.tokens: set[str] | None = None
        self.limits = Limits(1, 1, 4096, 8, 100_000, 1, 16, 1, 1, 0)
        self.device = Device("cpu", "A CPU", "ready", "float32", 0, 0, None)
        self._numbers = itertools.count(1)

    def open(self, server: Server, timing: Timing) -> FakeClient:
        client = FakeClient(self, server)
        self.clients.append(client)
        return client

    def fail(self, call: str, *errors: Exception) -> None:
        self.errors.setdefault(call, []).extend(errors)

    def gate(self, call: str) -> threading.Event:
        """Makes calls of this name wait until the returned event is set."""
        self.gates[call] = threading.Event()
        return self.gates[call]

    def take_down(self) -> None:
        self.up = False
        for fake in self.jobs.values():
            for watcher in list(fake.watchers):
                fake.lose(watcher, Unreachable("gone"))

    def bring_up(self) -> None:
        self.up = True

    def only(self) -> FakeJob:
        """The only job."""
        (fake,) = self.jobs.values()
        return fake

    def become(self, state: str, *, name: str = "", **changes: Any) -> None:
        """Changes the state of a job, or of the only one."""
        fake = self.jobs[name] if name else self.only()
        fake.job = dataclasses.replace(fake.job, state=state, **changes)
        fake.emit(JobChanged(fake.job))

    def progress(
        self,
        evaluation: int,
        evaluations: int = 10,
        time_left: float | None = None,
        preparing: float | None = None,
    ) -> None:
        told = Progress(
            evaluation, evaluations, 1, 1, 8, 8, 1.0, 1.0, 1.0, 0.0, 1.0, time_left, preparing
        )  # fmt: skip
        self.only().emit(told)

    def preview(self, evaluation: int, *, name: str = "") -> None:
        (self.jobs[name] if name else self.only()).emit(Preview(b"jpeg", "jpeg", 8, 8, evaluation, 1))


class FakeClient:
    """The part of `impasto.Client` that the controller uses."""

    def __init__(self, service: FakeService, server: Server) -> None:
        self._service = service
        self._server = server
        self.closed = False

    def _call(self, name: str) -> None:
        self._service.calls.append(name)
        gate = self._service.gates.get(name)
        if gate is not None:
            assert gate.wait(PATIENCE)
        waiting = self._service.errors.get(name)
        if waiting:
            raise waiting.pop(0)
        # A call that had arrived when the client was closed is still carried out.
        if self.closed and gate is None:
            raise JobCancelled("the channel was closed")
        if not self._service.up:
            raise Unreachable("no server answers")

    def info(self) -> ServerInfo:
        self._call("info")
        return ServerInfo("1", (self._service.device,), None, ("png", "jpeg"), self._service.limits, 0, "")

    def styles(self) -> Iterator[NamedStyle]:
        self._call("styles")
        yield from self._service.styles

    def upload(self, image: bytes) -> UploadedImage:
        self._call("upload")
        self._service.uploads.append(image)
        return UploadedImage("0" * 64)

    def create_job(self, content: Any, styles: Any, *, request_id: str, title: str, **rest: Any) -> Job:
        self._call("create_job")
        texture = rest.get("texture")
        assert isinstance(content, RawPixels) if texture is None else content is None
        assert all(isinstance(style, Style) for style in styles)
        own = [style for style in styles if isinstance(style.image, UploadedImage)]
        assert all(own or isinstance(style.image, StyleName) for style in styles)
        if own and self._service.forgets_uploads:
            self._service.forgets_uploads = False
            raise FailedPrecondition("the image is not here")
        for fake in self._service.jobs.values():
            if fake.request["request_id"] == request_id:
                return fake.job
        name = f"jobs/{next(self._service._numbers)}"
        width, height = texture or (content.width, content.height)
        job = Job(
            name, "queued", Recipe(seed=rest["seed"]), width, height,
            None, None, None, "", None, None, None, None, "", False, None, title, 0, 1, None,
        )  # fmt: skip
        request = {"request_id": request_id, "content": content, "styles": styles, **rest}
        self._service.jobs[name] = FakeJob(job, request)
        return job

    def job(self, name: str) -> Job:
        self._call("job")
        return self._there(name).job

    def jobs(self, states: Any = ()) -> Iterator[Job]:
        self._call("jobs")
        for fake in list(self._service.jobs.values()):
            if not states or fake.job.state in states:
                yield fake.job

    def update_job(self, name: str, **settings: Any) -> Job:
        self._call("update_job")
        fake = self._there(name)
        if fake.job.is_final:
            raise FailedPrecondition("the job has ended")
        fake.updates.append(settings)
        return fake.job

    def pause(self, name: str) -> Job:
        return self._change("pause", name, "paused")

    def resume(self, name: str) -> Job:
        return self._change("resume", name, "queued")

    def cancel(self, name: str) -> Job:
        return self._change("cancel", name, "cancelled")

    def download(self, *, result_of: str, format: str) -> CodedImage:
        self._call("download")
        job = self._there(result_of).job
        return CodedImage(bytes(4 * job.width * job.height), format, job.width, job.height, "")

    def watch(self, name: str) -> FakePainting:
        self._call("watch")
        fake = self._there(name)
        return FakePainting(fake)

    def close(self) -> None:
        self.closed = True

    def _there(self, name: str) -> FakeJob:
        if name not in self._service.jobs:
            raise NotFound(f"there is no job {name}")
        return self._service.jobs[name]

    def _change(self, call: str, name: str, state: str) -> Job:
        self._call(call)
        fake = self._there(name)
        if fake.job.is_final and fake.job.state != state:
            raise FailedPrecondition("the job has ended")
        fake.job = dataclasses.replace(fake.job, state=state)
        fake.emit(JobChanged(fake.job))
        return fake.job


class FakePainting:
    def __init__(self, fake: FakeJob) -> None:
        self._fake = fake
        self._events = fake.watch()

    def __iter__(self) -> Iterator[Event]:
        while True:
            event = self._events.get(timeout=60)
            if event is None:
                raise ImpastoError("the job is not watched any more", code="CANCELLED")
            if isinstance(event, ImpastoError):
                raise event
            yield event

    def leave(self) -> None:
        self._fake.lose(self._events, None)
