"""The calls of `impasto.Client` and `impasto.aio.Client`, each defined once for both.

A method of `Api` has the public signature and docstring, checks the arguments, and returns steps without I/O
(`impasto.steps`). The clients publish these methods: one carries the steps out in the caller's thread, the
other in an event loop.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from impasto import images, requests
from impasto.calls import LINGER, Calls, Following
from impasto.errors import invalid_field
from impasto.formats import StoredFormat
from impasto.job import Estimate, ImageLinks, Job, JobsEvent, NamedStyle, NewestPreview, ServerInfo
from impasto.picture import CodedImage
from impasto.recipe import (
    ImageSource,
    Objective,
    Previews,
    Recipe,
    Region,
    StyleSource,
    UploadedImage,
    completed,
)
from impasto.recipe_fields import check_settings
from impasto.steps import AnyStep, Steps, Work
from impasto.v1 import style_transfer_pb2 as pb
from impasto.watching import Watched

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from impasto.recipe import Settings

T = TypeVar("T")
Request = TypeVar("Request")
Method = TypeVar("Method", bound=Callable[..., Any])

Listing: TypeAlias = Generator[AnyStep | T, Any, None]
"""Steps, with the items of a list between them."""


@dataclasses.dataclass(frozen=True)
class Begun:
    """A painting that can be followed.

    Attributes:
        watched: what is known of its job.
        following: the steps to its picture.
        owned: whether the job ends when its caller leaves the painting.
    """

    watched: Watched
    following: Following
    owned: bool


class Api:
    """Every call of the service, as a client publishes it.

    Args:
        calls: makes them.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def info(self) -> Steps[ServerInfo]:
        """Returns the server's version, devices, feature network and limits. Also checks the connection."""
        return self._calls.info()

    # Painting.

    def stylize(
        self,
        content: ImageSource | None,
        styles: StyleSource | Sequence[StyleSource],
        *,
        recipe: Recipe | Objective | None = None,
        start_image: ImageSource | None = None,
        texture: tuple[int, int] | None = None,
        regions: Sequence[Region] = (),
        selection: ImageSource | None = None,
        previews: Previews | bool = True,
        title: str = "",
        priority: int = 0,
        format: StoredFormat | None = None,
        keep_running: bool = False,
        linger: float | None = None,
        timeout: float | None = None,
        **settings: Unpack[Settings],
    ) -> Begun:
        """Paints a photograph in the style of one or more paintings, or makes a texture from paintings.

        Returns as soon as the server has accepted the job; iterate over the painting to watch it. Large
        images are uploaded first.

        Args:
            content: the photograph; None for a texture.
            styles: the painting, or several, each with or without a weight: `"a.jpg"`, `["a.jpg", "b.jpg"]`,
                `[("a.jpg", 2.0), ("b.jpg", 1.0)]`.
            recipe: how to paint: a `Recipe`, or the name of an objective (`"gatys"`). The server chooses
                what it leaves open.
            start_image: the picture to start from, with the content's proportions.
            texture: width and height in pixels of a texture to make from the styles, without a content.
            regions: which part of the content takes which style; empty for every style everywhere.
            selection: a mask: white marks the area of the content to paint; None for all of it.
            previews: which previews to send; False for none.
            title: a title for lists, at most 200 characters.
            priority: the job's priority among the tenant's jobs, -100 to 100; higher goes first.
            format: how to keep and send the result: "png", or "png16" for 16 bits per channel; None for
                "png".
            keep_running: whether the job goes on when the caller leaves the painting; see `watch`.
            linger: seconds for which the job goes on without the caller, who can reconnect until then; None
                for half a minute. Without effect on a job that keeps running.
            timeout: seconds after which to cancel the job; None for no limit.
            settings: fields of the recipe, which replace those of `recipe`: `effort="draft", size=800`.

        Raises:
            FileNotFoundError: an image is a path to a file that does not exist. No call was made.
            InvalidRequest: the server cannot paint the request; the error names the field and what to do.
            NotFound: the server has no style of that name.
            FailedPrecondition: the server does not have an image that is named by its digest.
            ResourceExhausted: the queue or a quota is full.
            TypeError: an image has an unsupported type, or a setting is unknown.
        """
        make_spec = functools.partial(
            requests.job_spec,
            content,
            styles,
            recipe=completed(recipe, settings),
            start_image=start_image,
            texture=texture,
            regions=regions,
            selection=selection,
            format=format,
        )
        watched = Watched()

        def following() -> Following:
            request = requests.stylize_request(
                (yield from _work(make_spec)),
                previews=previews,
                title=title,
                priority=priority,
                keep_running=keep_running,
                linger=0 if keep_running else LINGER if linger is None else linger,
            )
            return (yield from self._calls.stylize(watched, request, timeout=timeout))

        return Begun(watched, following(), owned=not keep_running)

    def watch(self, name: str | Job, *, previews: bool = True, timeout: float | None = None) -> Begun:
        """Watches an existing job from its present state to its result. Leaving it does not cancel the job.

        Args:
            name: the job, or its name.
            previews: whether to send previews.
            timeout: seconds after which to stop watching; None for no limit.

        Raises:
            NotFound: there is no such job.
        """
        watched = Watched(_job_name(name))
        following = self._calls.watch(watched, previews=previews, timeout=timeout)
        return Begun(watched, following, owned=False)

    # Jobs.

    def create_job(
        self,
        content: ImageSource | None,
        styles: StyleSource | Sequence[StyleSource],
        *,
        recipe: Recipe | Objective | None = None,
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
    ) -> Steps[Job]:
        """Creates a job that runs whether anyone watches it or not. Returns once the server has stored it.

        Args:
            request_id: an identifier of your choice: the same one with the same request gives the same job,
                so that a program can repeat the call after a crash. Made up if empty. All other arguments are
                those of `stylize`.

        Raises:
            FileNotFoundError, InvalidRequest, NotFound, FailedPrecondition, ResourceExhausted, TypeError: as
                for `stylize`.
        """
        spec = yield from _work(
            functools.partial(
                requests.job_spec,
                content,
                styles,
                recipe=completed(recipe, settings),
                start_image=start_image,
                texture=texture,
                regions=regions,
                selection=selection,
                format=format,
            )
        )
        request = requests.create_job_request(
            spec, previews=previews, request_id=request_id, title=title, priority=priority
        )
        return (yield from self._calls.create_job(request))

    def estimate(
        self,
        content: ImageSource | None,
        styles: StyleSource | Sequence[StyleSource],
        *,
        recipe: Recipe | Objective | None = None,
        start_image: ImageSource | None = None,
        texture: tuple[int, int] | None = None,
        regions: Sequence[Region] = (),
        selection: ImageSource | None = None,
        format: StoredFormat | None = None,
        **settings: Unpack[Settings],
    ) -> Steps[Estimate]:
        """Returns what painting would take: size, memory, device and time. Nothing is painted.

        The arguments are those of `stylize`. The server checks them in the same way.

        Raises:
            FileNotFoundError, InvalidRequest, NotFound, FailedPrecondition, TypeError: as for `stylize`.
            ResourceExhausted: no device has enough memory; the error names what to reduce.
            Unavailable: no device is ready.
            ServerError: the server is too old to estimate.
        """
        spec = yield from _work(
            functools.partial(
                requests.job_spec,
                content,
                styles,
                recipe=completed(recipe, settings),
                start_image=start_image,
                texture=texture,
                regions=regions,
                selection=selection,
                format=format,
            )
        )
        return (yield from self._calls.estimate(pb.EstimateJobRequest(spec=spec)))

    def job(self, name: str | Job) -> Steps[Job]:
        """Returns a job in its present state.

        Args:
            name: the job, or its name.

        Raises:
            NotFound: there is no such job.
        """
        return self._calls.job(_job_name(name))

    def jobs(self, states: Sequence[str] = (), *, title: str = "") -> Listing[Job]:
        """Lists the caller's jobs, newest first. Fetches further pages as they are needed.

        Args:
            states: list only jobs in these states: "queued", "running", "paused", "succeeded", "failed",
                "cancelled"; empty for all.
            title: list only jobs whose title contains this, in upper or lower case; empty for all.

        Raises:
            InvalidRequest: there is no such state, or the title is too long.
        """
        return _listing(self._calls.jobs, requests.list_jobs_request(states, title))

    def watch_jobs(
        self, *, previews: bool = False, previews_of: Sequence[str | Job] = ()
    ) -> Listing[JobsEvent]:
        """Watches all of the caller's jobs: those that are unfinished now, and those that come later.

        First come the unfinished jobs, each as `JobChanged`, then `JobsListed`, then what happens to any of
        them. It never ends by itself. If the connection breaks, there is a `ContactLost`, and once the
        server is back the unfinished jobs come again: then call `jobs` for those that are final.

        Args:
            previews: whether to send previews of all jobs.
            previews_of: jobs, or their names, whose previews to send, at most 200.

        Raises:
            ServerError: the server is too old to have this call (`code` is "UNIMPLEMENTED").
        """
        request = pb.WatchJobsRequest(
            omit_previews=not (previews or previews_of),
            previews_of=[] if previews else [_job_name(job) for job in previews_of],
        )
        return self._calls.watch_jobs(request)

    def update_job(
        self,
        name: str | Job,
        *,
        title: str | None = None,
        priority: int | None = None,
        previews: Previews | bool | None = None,
        **settings: Unpack[Settings],
    ) -> Steps[Job]:
        """Steers a job: changes its recipe while it is painted. It goes on from its current image.

        Args:
            name: the job, or its name.
            title, priority, previews: as for `stylize`; None leaves them unchanged.
            settings: fields of the recipe to change: `content_weight=0.5`; None restores the default. Only
                the fields in `impasto.recipe.STEERABLE` can change.

        Returns:
            The job with the change.

        Raises:
            InvalidRequest: nothing is given, a setting cannot change, or a value is out of range.
            NotFound: there is no such job.
            FailedPrecondition: the job is final.
            TypeError: a setting is unknown.
        """
        request = requests.update_job_request(
            _job_name(name), settings, title=title, priority=priority, previews=previews
        )
        return self._calls.update_job(request)

    def pause(self, name: str | Job) -> Steps[Job]:
        """Pauses a job: frees its device, or its place in the queue, and keeps its work.

        Does nothing if the job is paused already.

        Args:
            name: the job, or its name.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: the job is final.
        """
        return self._calls.pause(_job_name(name))

    def resume(self, name: str | Job) -> Steps[Job]:
        """Resumes a paused job. Does nothing if the job is not paused.

        Args:
            name: the job, or its name.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: the job is final.
        """
        return self._calls.resume(_job_name(name))

    def cancel(self, name: str | Job) -> Steps[Job]:
        """Cancels a job. Does nothing if the job is cancelled already.

        Args:
            name: the job, or its name.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: the job has succeeded or failed.
        """
        return self._calls.cancel(_job_name(name))

    def delete(self, name: str | Job) -> Steps[None]:
        """Deletes a job and its result; cancels it first if it is not final.

        Args:
            name: the job, or its name.

        Raises:
            NotFound: there is no such job.
        """
        return self._calls.delete(_job_name(name))

    def preview(self, name: str | Job, *, after_sequence: int = 0, wait: float = 0) -> Steps[NewestPreview]:
        """Returns the newest preview of a job, without watching it.

        Args:
            name: the job, or its name.
            after_sequence: `NewestPreview.sequence` of the preview that the caller has; 0 for none.
            wait: seconds to wait for a newer one, up to 60.

        Raises:
            NotFound: there is no such job.
        """
        return self._calls.preview(requests.get_preview_request(_job_name(name), after_sequence, wait))

    # Images.

    def upload(self, image: ImageSource) -> Steps[UploadedImage]:
        """Uploads an image that any number of jobs can use. Does not send bytes that the server has already.

        Args:
            image: as for `stylize`; raw pixels are sent as a PNG.

        Raises:
            FileNotFoundError: it is a path to a file that does not exist.
            InvalidRequest: it is too large, or the server does not accept its format.
            ResourceExhausted: the tenant's quota of bytes is used up.
            TypeError: it has an unsupported type.
        """
        data = yield from _work(functools.partial(images.image_file, image))
        return (yield from self._calls.upload(data))

    def download(
        self,
        image: str | Job | UploadedImage | None = None,
        *,
        result_of: str | Job | None = None,
        preview_of: str | Job | None = None,
        sha256: str | UploadedImage | None = None,
        format: str | None = None,
        max_side: int | None = None,
    ) -> Steps[CodedImage]:
        """Downloads an image and checks it. Resumes where it stopped if the connection breaks.

        Args:
            image: a job, or its name ("jobs/…"), for its result; an image on the server, or its digest
                ("sha256:…"), for that image. The next three arguments say the same by name: give one of the
                four.
            result_of: a job, or its name, for its result.
            preview_of: a job, or its name, for its newest preview.
            sha256: an image that was uploaded or sent with a job, or its digest in hexadecimal.
            format: format in which to send a result: "png", "png16", "tiff" (with as many bits per channel as
                it is kept with), "jpeg", "webp", or bare pixels as "rgba8" or "rgba16"; None for the format
                in which it is kept. With `max_side`, also of an image: "jpeg", "png" or "webp"; None for
                "jpeg".
            max_side: reduce a result or an image so that its longer side has at most so many pixels, 16 to
                2,048; None for the picture as it is.

        Raises:
            InvalidRequest: not exactly one source is given, or it is not available in that format.
            NotFound: there is no such job or image.
            FailedPrecondition: the job has no result, or no preview, yet.
            DataLoss: the image was damaged.
        """
        sources = _image_source(image) if image is not None else {}
        for name, job in (("result_of", result_of), ("preview_of", preview_of)):
            if job is not None:
                sources[name] = _job_name(job)
        if sha256 is not None:
            sources["sha256"] = sha256.sha256 if isinstance(sha256, UploadedImage) else sha256
        return self._calls.download(requests.download_request(sources, format=format, max_side=max_side))

    def image_links(
        self,
        pictures: Sequence[str | Job | UploadedImage],
        *,
        format: str | None = None,
        max_side: int | None = None,
        lifetime: float | None = None,
    ) -> Steps[ImageLinks]:
        """Makes addresses from which pictures can be loaded without a token, for example by a browser.

        Args:
            pictures: jobs, or their names, for their results; images on the server, or their digests. At most
                200.
            format, max_side: as for `download`.
            lifetime: seconds for which the addresses are valid, up to a day; None for 15 minutes.

        Raises:
            InvalidRequest: a picture cannot be named so, or a value is out of range. That a picture exists is
                checked when its address is used.
            FailedPrecondition: the server has no page, which would serve the addresses.
        """
        sources = [
            requests.download_request(_image_source(picture), format=format, max_side=max_side)
            for picture in pictures
        ]
        return self._calls.image_links(requests.image_links_request(sources, lifetime))

    def styles(self) -> Listing[NamedStyle]:
        """Lists the styles that the server offers by name. Fetches further pages as they are needed."""
        return _listing(self._calls.styles, pb.ListStylesRequest())


def _work(do: Callable[[], T]) -> Steps[T]:
    outcome: T = yield Work(do)
    return outcome


def _listing(
    page: Callable[[Request], Steps[tuple[list[T], Request | None]]], request: Request
) -> Listing[T]:
    following: Request | None = request
    while following is not None:
        found, following = yield from page(following)
        yield from found


def _job_name(job: str | Job) -> str:
    """The name of a job.

    Raises:
        TypeError: it is neither a job nor a name.
    """
    if isinstance(job, str):
        return job
    # A painting has a job too.
    job = getattr(job, "job", job)
    if isinstance(job, Job):
        return job.name
    raise TypeError(f"a job cannot be {job!r}; give its name ('jobs/…') or an impasto.Job")


def _image_source(image: str | Job | UploadedImage) -> dict[str, str]:
    """What `download` is asked for, as one of its sources.

    Raises:
        InvalidRequest: it is neither a job nor an image on the server.
    """
    if isinstance(image, UploadedImage):
        return {"sha256": image.sha256}
    if isinstance(image, Job) or isinstance(getattr(image, "job", None), Job):
        return {"result_of": _job_name(image)}
    if isinstance(image, str) and image.startswith("jobs/"):
        return {"result_of": image}
    if isinstance(image, str) and re.fullmatch("(sha256:)?[0-9a-f]{64}", image):
        return {"sha256": image.removeprefix("sha256:")}
    raise invalid_field(
        "source",
        f"cannot be {image!r}; give a job's name ('jobs/…') or an image's digest ('sha256:…'), or name the "
        "source: result_of=, preview_of= or sha256=",
    )


# How the clients publish the calls.


def published(method: Method, call: Callable[..., Any], returns: Mapping[str, str]) -> Method:
    """Give a client's method the name, the signature and the docstring of a call of `Api`.

    Args:
        returns: what the method returns in place of what the call returns, by its type's name: {"Steps": ""}
            makes `Steps[Job]` a `Job`.
    """
    functools.update_wrapper(method, call)
    # Otherwise tools would show the call of `Api` in place of the method.
    del method.__wrapped__  # type: ignore[attr-defined]
    method.__qualname__ = f"Client.{call.__name__}"
    kind, _, item = call.__annotations__["return"].rstrip("]").partition("[")
    wrapper = returns[kind]
    returned = f"{wrapper}[{item}]" if wrapper and item else wrapper or item
    method.__annotations__ = {**call.__annotations__, "return": returned}
    signature = inspect.signature(call).replace(return_annotation=returned)
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method


class Arguments:
    """Checks the arguments of a call, so that a wrong one gets an error that shows how to call it.

    Args:
        call: a method of `Api`.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._name = call.__name__
        signature = inspect.signature(call)
        own = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in list(signature.parameters.values())[1:]
        ]
        self._signature = inspect.Signature(own)
        self._names = [one.name for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]
        self._settings = len(self._names) < len(own)

    def check(self, values: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        """Check that a call can be made with these arguments.

        Raises:
            TypeError: it cannot; the message says what is wrong, and how to call it.
        """
        if self._settings:
            check_settings(keywords, self._names, self._name)
        try:
            self._signature.bind(*values, **keywords)
        except TypeError as error:
            unknown = next((name for name in keywords if name not in self._names), "")
            near = [] if self._settings else difflib.get_close_matches(unknown, self._names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{error}{hint}; call it as {self._name}{self._signature}") from None
