"""A painting, from its order to the placing of its picture."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from impasto.errors import FailedPrecondition, JobCancelled, NotFound, Unauthenticated
from impasto.hosts import words
from impasto.hosts.areas import regions_of
from impasto.hosts.choices import Choices
from impasto.hosts.connection import THIS_COMPUTER
from impasto.hosts.host import CannotPlace, Painted
from impasto.hosts.memory import Remembered
from impasto.hosts.order import Order
from impasto.hosts.shares import title_of
from impasto.hosts.steering import Steering
from impasto.hosts.told import plain
from impasto.hosts.tools import Tools, cancel_job, format_of
from impasto.hosts.translate import _
from impasto.hosts.watcher import Watcher
from impasto.job import FINAL_STATES, Job, Progress
from impasto.recipe import Style

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.hosts.styles import StyleItem
    from impasto.recipe import RawPixels, Region

T = TypeVar("T")

STATES = ("submitting", "queued", "running", "paused", "fetching", "succeeded", "failed", "cancelled")


class Run:
    """A painting in progress, or an ended one. For the host's main thread only.

        submitting → queued → running ⇄ paused → fetching → succeeded
                     any state but the final ones → failed, cancelled

    Contact may be lost in any state (`in_contact`). The server goes on painting, and the run continues when
    the connection is back.

    Args:
        changed: called with "preview" when the preview changes, with "run" when another attribute does.

    Attributes:
        id: an identifier made here.
        state: one of `STATES`.
        choices: the present choices, including steered ones.
        styles: the styles that were chosen.
        place: the host's notes about where the picture goes.
        bits: bits per channel of the result.
        texture: whether a texture is made.
        subject: what is painted, for people.
        document: key of the document in the history.
        job: the job in the newest state from the server; None before the first.
        progress: the newest progress; None before the first.
        preview: the newest preview, as `Host.decode` returned it; None before the first.
        notice: a sentence about an error that does not end the painting; else empty.
        asking: "pause" or "resume" while such a call is in progress; else empty.
    """

    def __init__(
        self, tools: Tools, memo: Remembered, order: Order | None, changed: Callable[[str], None]
    ) -> None:
        self.id = memo.id
        self.state = "submitting" if order else "queued"
        self.choices = memo.choices
        self.styles = memo.styles
        self.place = memo.place
        self.bits = memo.bits
        self.texture = memo.texture
        self.subject = memo.subject
        self.document = memo.document
        self.job: Job | None = None
        self.progress: Progress | None = None
        self.preview: Any = None
        self.notice = ""
        self.asking = ""
        self._tools = tools
        self._memo = memo
        self._order = order
        self._style_names = [share.style.title for share in memo.styles]
        self._area_names = [plain(area.name) for area in order.areas] if order else []
        self._changed = changed
        self._outcome = words.Told("")
        self._parts: _Parts | None = None
        self._submitting = self._fetching = False
        self._watcher: Watcher | None = None
        self._steering = Steering(
            tools.host.later,
            tools.timing.steer,
            is_ready=lambda: bool(self.name) and self.in_contact and not self.is_final,
            send=self._send_settings,
        )

    @property
    def style(self) -> StyleItem:
        """The first style."""
        return self.styles[0].style

    @property
    def label(self) -> str:
        """What is painted in which style, for people."""
        return self._memo.label

    @property
    def line(self) -> str:
        """What tells it from the others in one line: how far it is, its styles and its seed."""
        names = {"style": title_of(self.styles), "seed": self.choices.seed}
        if self.state == "paused":
            return _("Paused · {style} · seed {seed}").format(**names)
        if self.state in ("submitting", "queued"):
            return _("Waiting · {style} · seed {seed}").format(**names)
        percent = round(100 * (self.fraction or 0))
        return _("{percent} % · {style} · seed {seed}").format(percent=percent, **names)

    @property
    def name(self) -> str:
        """The job's name; empty until the server has sent it."""
        return self._memo.name

    @property
    def is_final(self) -> bool:
        """Whether the painting has ended."""
        return self.state in FINAL_STATES

    @property
    def in_contact(self) -> bool:
        """Whether there is a connection to its server."""
        connection = self._tools.connection
        return connection.client is not None and connection.key == self._memo.address

    @property
    def fraction(self) -> float | None:
        """The fraction of the evaluations made, 0 to 1; None if unknown."""
        if self.state in ("fetching", "succeeded"):
            return 1.0
        if self.progress is None or not self.progress.evaluations:
            return None
        return min(1.0, self.progress.evaluation / self.progress.evaluations)

    @property
    def time_left(self) -> float | None:
        """Estimated seconds until the picture is finished; None if unknown."""
        return self.progress.time_left if self.progress is not None and self.state == "running" else None

    @property
    def queue_position(self) -> int | None:
        """Place in the queue, from 1; None unless it is queued."""
        return self.job.queue_position if self.job is not None and self.state == "queued" else None

    @property
    def can_pause(self) -> bool:
        """Whether `pause` is possible."""
        return self.state in ("queued", "running") and self._can_ask

    @property
    def can_resume(self) -> bool:
        """Whether `resume` is possible."""
        return self.state == "paused" and self._can_ask

    @property
    def _can_ask(self) -> bool:
        return bool(self.name) and self.in_contact and not self.asking

    @property
    def told(self) -> words.Told:
        """Its state for people: a short sentence, details, and what a button can do about an error."""
        if self.is_final:
            return self._outcome
        if not self.in_contact:
            return self._told_out_of_contact()
        if self.state == "submitting":
            if self._submitting:
                return words.Told(_("Sending the picture …"))
            return words.Told(_("Waiting until it can be sent …"))
        if self.state == "queued":
            place = self.queue_position
            if place is None:
                return words.Told(_("Waiting for a free device …"))
            return words.Told(_("Waiting, number {place} in the queue …").format(place=place))
        if self.state == "running":
            return words.Told(words.painting(self.progress))
        if self.state == "paused" and self.job is not None and self.job.held:
            return words.held()
        if self.state == "paused":
            return words.Told(_("Paused."), _("The server keeps the painting."))
        return words.Told(_("Fetching the picture …"))

    @property
    def sentence(self) -> str:
        """Its state in whole sentences for people."""
        return self.told.sentence

    @property
    def short(self) -> str:
        """Its state as one short sentence."""
        return self.told.short

    @property
    def remedy(self) -> str:
        """What a button beside it should do: see `Told.remedy`."""
        return self.told.remedy

    def _told_out_of_contact(self) -> words.Told:
        key = self._memo.address
        if self._tools.connection.key != key:
            if key == THIS_COMPUTER:
                paints = _("This computer paints this.")
            else:
                paints = _("The server {server} paints this.").format(server=words.cut(key))
            return words.Told(paints, _("Connect to it again to watch."), words.SERVER_SETTINGS)
        if self.name:
            return words.Told(
                _("No connection to the server."),
                _(
                    "If it still runs, it goes on painting, and the picture arrives when the connection is "
                    "back."
                ),
            )
        return words.Told(
            _("No connection to the server."), _("The picture is sent when the connection is back.")
        )

    # The artist's actions.

    def begin(self) -> None:
        """Sends the order, or continues an existing job."""
        self.contact_changed()

    def steer(self, choices: Choices) -> None:
        """Changes the choices, as far as they can change during painting: `choices.STEERABLE`."""
        if self.is_final:
            return
        choices = self.choices.steered(choices)
        settings = choices.steering(self.choices, texture=self.texture)
        self.choices = choices
        if settings:
            self._steering.want(settings)

    def pause(self) -> None:
        """Pauses the job, if `can_pause`."""
        if self.can_pause:
            self._ask("pause")

    def resume(self) -> None:
        """Resumes the job, if `can_resume`."""
        if self.can_resume:
            self._ask("resume")

    def cancel(self) -> None:
        """Ends the painting at once, and cancels its job as soon as possible."""
        if self.is_final:
            return
        unsure = self._submitting and not self.name
        self._tools.memory.forget(self.id)
        self._end("cancelled", words.Told(_("Cancelled.")))
        # A job that is just being created is cancelled once its name is known.
        if self.name:
            cancel_job(self._tools, self._memo.address, self.name)
        elif unsure:
            self._tools.memory.to_cancel(self._memo.address, self._memo.title)
        elif self._parts is not None:
            # The job may have been created and the answer lost.
            cancel_job(self._tools, self._memo.address, self._memo.title)

    def leave(self) -> None:
        """Stops watching, as the host closes. The job goes on and is remembered."""
        self._stop_watching()

    # The connection.

    def contact_changed(self) -> None:
        """Handles a change of the connection."""
        if self.is_final:
            return
        if not self.in_contact:
            self._stop_watching()
        elif not self.name:
            pass  # The controller sends orders one after the other.
        elif self.state == "fetching":
            self._fetch()
        else:
            self._watch()
        self._steering.flush()
        self._changed("run")

    def _is_lost(self, client: Client, error: Exception) -> bool:
        """Returns whether an error only means that contact was lost; if so, the connection handles it."""
        connection = self._tools.connection
        if isinstance(error, Unauthenticated):
            connection.refused(client, error)
            return True
        if isinstance(error, words.RETRIABLE):
            connection.lost(client, error)
            return True
        # An error of a client that was closed in the meantime says nothing about the job.
        return client is not connection.client

    # Sending.

    def send(self) -> None:
        """Sends the order, if it is not sent yet and there is contact."""
        client, order = self._tools.connection.client, self._order
        if self._submitting or self.name or self.is_final or not self.in_contact:
            return
        if client is None or order is None:
            return
        self._submitting = True
        tools, memo = self._tools, self._memo
        tools.memory.remember(memo)

        def work() -> Job:
            if self._parts is None:
                self._parts = _parts(order)
            for again in (False, True):
                try:
                    styles = [
                        Style(
                            tools.library.source(share.style, client, memo.address, again=again),
                            share.share if len(order.styles) > 1 else None,
                        )
                        for share in order.styles
                    ]
                    return client.create_job(
                        self._parts.content,
                        styles,
                        texture=self._parts.texture,
                        regions=self._parts.regions,
                        title=memo.title,
                        request_id=memo.id,
                        previews=tools.previews,
                        size=None if order.is_texture else order.size.longest_side,
                        format="png16" if order.bits == 16 else None,
                        **order.choices.settings(texture=order.is_texture),
                    )
                except FailedPrecondition:
                    # The server may no longer have an own style.
                    if again or not any(share.style.own for share in order.styles):
                        raise
            raise AssertionError

        def done(job: Job) -> None:
            self._submitting = False
            self._memo = dataclasses.replace(memo, name=job.name)
            self._parts = None
            if self.is_final:
                tools.memory.told(memo.address, memo.title)
                cancel_job(tools, memo.address, job.name)
                return
            self._remember()
            self._job_changed(job)
            self.contact_changed()

        def failed(error: Exception) -> None:
            self._submitting = False
            lost = self._is_lost(client, error)
            if self.is_final:
                if lost:
                    cancel_job(tools, memo.address, memo.title)
                else:
                    tools.memory.told(memo.address, memo.title)
            elif not lost:
                self._fail(error, forget=True)
            self._changed("run")

        tools.errands.start(work, done, failed)

    # Watching.

    def _watch(self) -> None:
        client = self._tools.connection.client
        if self._watcher is not None or client is None:
            return
        self._watcher = Watcher(
            self._tools.errands,
            decode=lambda preview: _unless_it_fails(self._tools.host.decode, preview, self.place),
            on_job=self._job_changed,
            on_progress=self._progressed,
            on_preview=self._previewed,
            on_failed=lambda error: self._watching_failed(client, error),
        )
        self._watcher.start(client, self.name)

    def _progressed(self, progress: Progress) -> None:
        self.progress = progress
        self._changed("run")

    def _previewed(self, preview: Any) -> None:
        if preview is None:
            return
        self.preview = preview
        self._changed("preview")

    def _watching_failed(self, client: Client, error: Exception) -> None:
        self._watcher = None
        if self._is_lost(client, error):
            if self.in_contact:
                self._watch()
            self._changed("run")
        elif isinstance(error, JobCancelled):
            self._tools.memory.forget(self.id)
            self._end("cancelled", words.Told(_("The painting was cancelled on the server.")))
        else:
            self._fail(error, forget=isinstance(error, NotFound))

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.leave()

    def _job_changed(self, job: Job) -> None:
        if self.is_final or self.state == "fetching":
            return
        self.job = job
        self.progress = job.progress or self.progress
        if job.state == "succeeded":
            self.state = "fetching"
            self._stop_watching()
            self._fetch()
        elif job.state == "failed":
            self._tools.memory.forget(self.id)
            told = words.failed(
                job.error, self._memo.address, styles=self._style_names, areas=self._area_names
            )
            self._end("failed", told)
            return
        elif job.state == "cancelled":
            self._tools.memory.forget(self.id)
            self._end("cancelled", words.Told(_("The painting was cancelled on the server.")))
            return
        elif job.state in STATES:
            self.state = job.state
        self._changed("run")

    # The picture.

    def _fetch(self) -> None:
        client = self._tools.connection.client
        if self._fetching or client is None:
            return
        self._fetching = True
        tools, name = self._tools, self.name

        def work() -> tuple[Any, bytes]:
            image = client.download(result_of=name, format=format_of(tools, self.bits))
            picture = tools.host.decode_result(image, self.place)
            return picture, bytes(_unless_it_fails(tools.host.thumbnail, picture) or b"")

        def done(outcome: tuple[Any, bytes]) -> None:
            self._fetching = False
            if not self.is_final:
                picture, thumbnail = outcome
                painted = self._painted(picture)
                # Before it is placed: if that fails, the history still has it.
                _unless_it_fails(tools.history.add, painted, self._memo.address, thumbnail)
                self._put_in_place(painted)

        def failed(error: Exception) -> None:
            self._fetching = False
            if self.is_final:
                return
            if not self._is_lost(client, error):
                self._fail(error, forget=isinstance(error, (NotFound, FailedPrecondition)))
            elif self.in_contact:
                self._fetch()

        tools.errands.start(work, done, failed)

    def _painted(self, picture: Any) -> Painted:
        assert self.job is not None
        return Painted(
            self.id,
            picture,
            self.job,
            self.styles,
            self.choices,
            self.place,
            self.bits,
            self.subject,
            self.document,
        )

    def _put_in_place(self, painted: Painted) -> None:
        told = _finished(painted.job)
        try:
            self._tools.host.place(painted)
        except CannotPlace as error:
            told = error.told
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            told = words.tell(error)
        else:
            self._tools.memory.forget(self.id)
        self._end("succeeded", told)

    # Asking the server.

    def _ask(self, what: str) -> None:
        client = self._tools.connection.client
        assert client is not None
        self.asking, self.notice = what, ""
        name = self.name

        def done(job: Job) -> None:
            self.asking = ""
            self._job_changed(job)
            self._changed("run")

        def failed(error: Exception) -> None:
            self.asking = ""
            # If the job has just ended, its final state is on its way.
            is_over = isinstance(error, FailedPrecondition) and error.reason != "HELD"
            if not is_over and not self.is_final:
                self._is_lost(client, error)
                if what == "pause":
                    failed_to = _("The painting could not be paused.")
                else:
                    failed_to = _("The painting could not go on.")
                self.notice = words.joined(failed_to, self._tell(error).sentence)
            self._changed("run")

        call = client.pause if what == "pause" else client.resume
        self._tools.errands.start(lambda: call(name), done, failed)
        self._changed("run")

    def _send_settings(self, settings: dict[str, Any], finished: Callable[[bool], None]) -> None:
        client = self._tools.connection.client
        assert client is not None
        name = self.name
        self._remember()

        def done(job: Job) -> None:
            self.notice = ""
            finished(False)
            self._changed("run")

        def failed(error: Exception) -> None:
            lost = self._is_lost(client, error)
            if not lost and not isinstance(error, FailedPrecondition) and not self.is_final:
                self.notice = self._tell(error).sentence
                self._changed("run")
            finished(lost)
            if lost:
                self._steering.flush()

        self._tools.errands.start(lambda: client.update_job(name, **settings), done, failed)

    # Endings.

    def _remember(self) -> None:
        self._memo = dataclasses.replace(self._memo, choices=self.choices)
        self._tools.memory.remember(self._memo)

    def _fail(self, error: Exception, *, forget: bool) -> None:
        if self.is_final:
            return
        if forget:
            self._tools.memory.forget(self.id)
        self._end("failed", self._tell(error))

    def _tell(self, error: Exception) -> words.Told:
        return words.tell(error, self._memo.address, styles=self._style_names, areas=self._area_names)

    def _end(self, state: str, told: words.Told) -> None:
        self.state, self._outcome = state, told
        self.asking = self.notice = ""
        self._stop_watching()
        self._changed("run")


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The pictures of an order, made once."""

    content: RawPixels | None
    texture: tuple[int, int] | None
    regions: tuple[Region, ...]


def _parts(order: Order) -> _Parts:
    width, height = order.size.painted_width, order.size.painted_height
    if order.content is None:
        return _Parts(None, (width, height), ())
    return _Parts(order.content(), None, regions_of(order.areas, order.styles, width, height))


def _unless_it_fails(call: Callable[..., T], *arguments: Any) -> T | None:
    """Returns what a host's function returns; None if it fails: the painting is worth more than that."""
    try:
        return call(*arguments)
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return None


def _finished(job: Job) -> words.Told:
    begun, ended = job.start_time, job.end_time
    if not begun or not ended:
        return words.Told(_("Finished."))
    took = words.duration((ended - begun).total_seconds())
    return words.Told(_("Finished in {time}.").format(time=took))
