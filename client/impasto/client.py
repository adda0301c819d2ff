"""The client of an Impasto server."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from impasto import address as addresses
from impasto import images, wire
from impasto import transport as transports
from impasto.calls import DEFAULT_PATIENCE, DEFAULT_TIMEOUT, LINGER, Calls, Following
from impasto.driver import Driver
from impasto.formats import StoredFormat
from impasto.job import Job, NamedStyle, NewestPreview, ServerInfo
from impasto.painting import Painting
from impasto.picture import CodedImage
from impasto.recipe import ImageSource, Previews, Recipe, Region, StyleSource, UploadedImage, completed
from impasto.security import Tls, call_metadata
from impasto.steps import Steps
from impasto.transport import Endpoint, Stack, TransportFactory
from impasto.v1 import style_transfer_pb2 as pb
from impasto.watching import Watched

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from impasto.recipe import Settings

T = TypeVar("T")
R = TypeVar("R")


class Client:
    """A connection to an Impasto server. Safe to use from several threads; close it, or use it in a `with`.

    A call that finds the server not available (it is shutting down, or the connection broke) is made again
    until it is; but where no server has answered yet, that is said at once. Every call may raise
    `Unauthenticated` (the server wants a token, or does not know this one), `Unreachable` (no server answers
    at the address) and `DeadlineExceeded`.

    Args:
        address: "host:port", "host" (port 50051) or "unix:/path".
        token: shows who calls, as `impasto-server token add` gave it.
        tls: True for TLS with the certificates that the system trusts, or how else to protect the connection.
        timeout: deadline of every call with one answer, in seconds, over all its attempts.
        patience: how long a painting, an upload or a download goes on without contact to the server, in
            seconds.
        allow_plaintext_token: send the token over a network without TLS; for one that is protected itself.
        transport: how calls travel: "grpcio", "grpclib" (which is all Python), or a transport's class; by
            default grpcio, or grpclib where that is missing.

    Raises:
        ValueError: the address or the token is none, or the token would go over a network in plaintext.
        OSError: a file of `tls` cannot be read. Whether a server is there shows at the first call.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: Tls | bool | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        patience: float = DEFAULT_PATIENCE,
        allow_plaintext_token: bool = False,
        transport: TransportFactory | Stack | None = None,
    ) -> None:
        self.address = addresses.parse(address)
        self.timeout = timeout
        if tls is True:
            tls = Tls()
        metadata = call_metadata(
            token, self.address, encrypted=bool(tls), allow_plaintext_token=allow_plaintext_token
        )
        if transport is None:
            transport = transports.installed()
        factory = transports.of(transport) if isinstance(transport, str) else transport
        endpoint = Endpoint(self.address, tls or None, metadata)
        dials = getattr(factory, "dials", False)
        self._calls = Calls(endpoint, timeout=timeout, patience=patience, dials=dials)
        self._transport = factory(endpoint)
        self._paintings: weakref.WeakSet[Painting] = weakref.WeakSet()

    def info(self) -> ServerInfo:
        """What the server is: version, devices, feature network, limits. Suits as a connection check."""
        return self._run(self._calls.info())

    # Painting.

    def stylize(
        self,
        content: ImageSource | None,
        styles: StyleSource | Sequence[StyleSource],
        *,
        recipe: Recipe | None = None,
        start_image: ImageSource | None = None,
        texture: tuple[int, int] | None = None,
        regions: Sequence[Region] = (),
        selection: ImageSource | None = None,
        previews: Previews | bool = True,
        title: str = "",
        priority: int = 0,
        format: StoredFormat | None = None,
        keep_running: bool = False,
        timeout: float | None = None,
        **settings: Unpack[Settings],
    ) -> Painting:
        """Has a photograph painted in the style of one or several paintings, or a texture made of them.

        Returns as soon as the server has accepted the job; watch the painting by iterating over it. Images
        that are too large to go along are uploaded first.

        Args:
            content: the photograph; None for a texture.
            styles: the painting, or several, each alone or with its share beside the others': `"a.jpg"`,
                `["a.jpg", "b.jpg"]`, `[("a.jpg", 2.0), ("b.jpg", 1.0)]`.
            recipe: how to paint; whatever it does not set is the server's choice.
            start_image: the picture to start from, in the content's proportions.
            texture: width and height in pixels of a texture in the manner of the styles, instead of a
                content.
            regions: which part of the content is painted in which style; none for every style everywhere.
            selection: a mask of what to paint of the content, white where it is painted; None for all.
            previews: which previews to send; False for none.
            title: for people: what a list shows; at most 200 characters.
            priority: among the jobs of one tenant, higher goes first: -100 to 100.
            format: what the result is kept as, and comes as: "png16" for 16 bits per channel; None for "png".
            keep_running: the job goes on when the painting is left; see `watch`.
            timeout: seconds after which the job is cancelled; None for no limit.
            settings: fields of the recipe, set over `recipe`: `effort="draft", longest_side=800`.

        Raises:
            FileNotFoundError: an image is a path and nothing is there; no call has been made.
            InvalidRequest: the request cannot be painted; says which field and what to do.
            NotFound: there is no such named style.
            FailedPrecondition: an image named by its digest is not on the server.
            ResourceExhausted: the queue or a quota is full.
        """
        spec = wire.job_spec(
            content,
            styles,
            recipe=completed(recipe, settings),
            start_image=start_image,
            texture=texture,
            regions=regions,
            selection=selection,
            format=format,
        )
        request = wire.stylize_request(
            spec,
            previews=previews,
            title=title,
            priority=priority,
            keep_running=keep_running,
            linger=0 if keep_running else LINGER,
        )
        watched = Watched()
        following = self._calls.stylize(watched, request, timeout=timeout)
        return self._painting(watched, following, owned=not keep_running)

    def watch(self, name: str, *, previews: bool = True, timeout: float | None = None) -> Painting:
        """Watches a job that there is, from its present state to its picture. Leaving only stops watching.

        Args:
            name: `Job.name`.
            previews: whether to be sent any.
            timeout: seconds after which watching ends; None for no limit.

        Raises:
            NotFound: there is no such job.
        """
        watched = Watched(name)
        return self._painting(
            watched, self._calls.watch(watched, previews=previews, timeout=timeout), owned=False
        )

    # Jobs.

    def create_job(
        self,
        content: ImageSource | None,
        styles: StyleSource | Sequence[StyleSource],
        *,
        recipe: Recipe | None = None,
        start_image: ImageSource | None = None,
        texture: tuple[int, int] | None = None,
        regions: Sequence[Region] = (),
        selection: ImageSource | None = None,
        previews: Previews | bool = True,
        title: str = "",
        priority: int = 0,
        format: StoredFormat | None = None,
        request_id: str = "",
        **settings: Unpack[Settings],
    ) -> Job:
        """Makes a job that runs whether anyone watches or not; returns once the server will not lose it.

        Args:
            request_id: the same one with the same request gives the same job, so that a caller who crashed
                may ask again; made up if not given. The rest is as for `stylize`.

        Raises:
            FileNotFoundError, InvalidRequest, NotFound, FailedPrecondition, ResourceExhausted: as `stylize`.
        """
        spec = wire.job_spec(
            content,
            styles,
            recipe=completed(recipe, settings),
            start_image=start_image,
            texture=texture,
            regions=regions,
            selection=selection,
            format=format,
        )
        request = wire.create_job_request(
            spec, previews=previews, request_id=request_id, title=title, priority=priority
        )
        return self._run(self._calls.create_job(request))

    def job(self, name: str) -> Job:
        """A job as it is now.

        Raises:
            NotFound: there is no such job.
        """
        return self._run(self._calls.job(name))

    def jobs(self, states: Sequence[str] = ()) -> Iterator[Job]:
        """The caller's jobs, the newest first; pages are fetched as they are needed.

        Args:
            states: only jobs in one of these: "queued", "running", "paused", "succeeded", "failed",
                "cancelled"; none for all.

        Raises:
            InvalidRequest: there is no such state.
        """
        return self._pages(self._calls.jobs, wire.list_jobs_request(states))

    def update_job(
        self,
        name: str,
        *,
        title: str | None = None,
        priority: int | None = None,
        previews: Previews | bool | None = None,
        **settings: Unpack[Settings],
    ) -> Job:
        """Steers a job; while it runs, it goes on from the image that it has.

        Args:
            title, priority, previews: as for `stylize`; None leaves them as they are.
            settings: fields of the recipe to change: `content_weight=0.5`; None for the default again. Only
                those of `impasto.recipe.STEERABLE` can be changed.

        Returns:
            The job with the change accepted.

        Raises:
            InvalidRequest: nothing is given, a setting cannot be changed, or a value is out of range.
            NotFound: there is no such job.
            FailedPrecondition: the job has ended.
        """
        request = wire.update_job_request(name, settings, title=title, priority=priority, previews=previews)
        return self._run(self._calls.update_job(request))

    def pause(self, name: str) -> Job:
        """Takes a job off its device, or out of the queue, with all its work kept. Harmless if it is paused.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: the job has ended.
        """
        return self._run(self._calls.pause(name))

    def resume(self, name: str) -> Job:
        """Lets a paused job go on. Harmless if it is not paused.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: the job has ended.
        """
        return self._run(self._calls.resume(name))

    def cancel(self, name: str) -> Job:
        """Cancels a job. Harmless if it is cancelled.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: the job has succeeded or failed.
        """
        return self._run(self._calls.cancel(name))

    def delete(self, name: str) -> None:
        """Deletes a job and its result; cancels it first if need be.

        Raises:
            NotFound: there is no such job.
        """
        self._run(self._calls.delete(name))

    def preview(self, name: str, *, after_sequence: int = 0, wait: float = 0) -> NewestPreview:
        """The newest preview of a job, for those who do not watch it.

        Args:
            after_sequence: `NewestPreview.sequence` of the one that the caller has.
            wait: seconds to wait for a newer one, up to 60.

        Raises:
            NotFound: there is no such job.
        """
        return self._run(self._calls.preview(wire.get_preview_request(name, after_sequence, wait)))

    # Images.

    def upload(self, image: ImageSource) -> UploadedImage:
        """Sends an image to be used in any number of jobs, without sending what the server has already.

        Args:
            image: as for `stylize`; raw pixels are sent as a PNG.

        Raises:
            FileNotFoundError: it is a path and nothing is there.
            InvalidRequest: it is too large, or no image that the server accepts.
            ResourceExhausted: the caller's quota of bytes is used up.
        """
        return self._run(self._calls.upload(images.image_file(image)))

    def download(
        self,
        *,
        result_of: str | None = None,
        preview_of: str | None = None,
        sha256: str | None = None,
        format: str | None = None,
    ) -> CodedImage:
        """Fetches a picture, going on from where it came to if the connection breaks, and checks it.

        Args:
            result_of: name of a job, for its result.
            preview_of: name of a job, for its newest preview.
            sha256: digest of an image that was uploaded or sent with a job.
            format: how a result is to be coded: "png", "png16", "tiff" (with as many bits per channel as it
                is kept with), "jpeg", "webp", or as bare pixels "rgba8" or "rgba16"; None for as it is kept.

        Raises:
            InvalidRequest: not exactly one source is given, or it cannot be had in that format.
            NotFound: there is no such job or image.
            FailedPrecondition: the job has no result, or no preview, yet.
            DataLoss: what came is not what was sent.
        """
        request = wire.download_request(
            result_of=result_of, preview_of=preview_of, sha256=sha256, format=format
        )
        return self._run(self._calls.download(request))

    def styles(self) -> Iterator[NamedStyle]:
        """The styles that the server offers by name; pages are fetched as they are needed."""
        return self._pages(self._calls.styles, pb.ListStylesRequest())

    def _run(self, steps: Steps[T]) -> T:
        return Driver(self._transport).run(steps)

    def _pages(self, page: Callable[[R], Steps[tuple[list[T], R | None]]], request: R) -> Iterator[T]:
        following: R | None = request
        while following is not None:
            found, following = self._run(page(following))
            yield from found

    def _painting(self, watched: Watched, following: Following, *, owned: bool) -> Painting:
        painting = Painting(self._calls, self._transport, watched, following, owned=owned)
        self._paintings.add(painting)
        return painting

    def close(self) -> None:
        """Lets the connection go; a painting still under way is cancelled, if it is the caller's own."""
        for painting in list(self._paintings):
            painting.close()
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
