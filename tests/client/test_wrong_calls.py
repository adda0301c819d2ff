"""Mistakes of newcomers: each gets an error that says what is wrong and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import impasto
import impasto.aio
from impasto.v1 import style_transfer_pb2 as pb
from support.fake_server import FakeServer, png


@pytest.fixture
def client(fake: FakeServer) -> Iterator[Any]:
    with impasto.Client(fake.address) as client:
        yield client


Call = Callable[[Any], object]
DIGEST = "0" * 64

WRONG_TYPES: dict[str, tuple[Call, str]] = {
    "missing style": (
        lambda c: c.stylize(png()),
        r"missing a required argument: 'styles'; call it as stylize\(",
    ),
    "recipe by position": (
        lambda c: c.stylize(png(), png(), impasto.Recipe()),
        r"too many positional arguments; call it as stylize\(content, styles, \*, recipe=None, ",
    ),
    "name on the wire": (
        lambda c: c.stylize(png(), png(), longest_side=640),
        r"stylize\(\) has no argument or setting 'longest_side'; did you mean 'size'\?",
    ),
    "misspelt setting": (
        lambda c: c.update_job("jobs/1", contentweight=1),
        r"update_job\(\) has no argument or setting 'contentweight'; did you mean 'content_weight'\?",
    ),
    "misspelt argument": (lambda c: c.stylize(png(), png(), titel="x"), "did you mean 'title'?"),
    "misspelt argument without settings": (
        lambda c: c.download("jobs/1", formt="png"),
        r"unexpected keyword argument 'formt'; did you mean 'format'\?; call it as download\(image=None, ",
    ),
    "number as image": (lambda c: c.stylize(3, png()), "spec.content cannot be of the type int; give a path"),
    "weights without pairs": (
        lambda c: c.stylize(png(), ["a.png", 2.0]),
        "spec.styles.1..image cannot be of the type float; give a path",
    ),
    "none as states": (
        lambda c: list(c.jobs(None)),
        r"states cannot be None; give a list of states, or leave it out for all jobs",
    ),
    "number as states": (lambda c: c.jobs(3), r"states cannot be 3; give a list of states"),
    "text as keep_running": (
        lambda c: c.stylize(png(), png(), keep_running="x"),
        r"keep_running cannot be 'x'; give True or False",
    ),
    "number as job": (lambda c: c.cancel(7), "a job cannot be 7; give its name"),
}


@pytest.mark.parametrize("mistake", WRONG_TYPES)
def test_a_call_of_the_wrong_form_says_how_to_make_it(client: Any, fake: FakeServer, mistake: str) -> None:
    call, message = WRONG_TYPES[mistake]
    Path("a.png").write_bytes(png())
    with pytest.raises(TypeError, match=message):
        call(client)
    assert not fake.calls


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


INVALID: dict[str, tuple[Call, str, str]] = {
    "url": (
        lambda c: c.stylize("https://example.org/cat.jpg", png()),
        "spec.content",
        "is the address https://example.org/cat.jpg; download it first",
    ),
    "file url": (lambda c: c.upload("file:///cat.jpg"), "image", "give the path alone"),
    "no style": (lambda c: c.stylize(png(), []), "spec.styles", "is empty; give at least one painting"),
    "name of a style": (
        lambda c: c.stylize(png(), "styles/waves"),
        "spec.styles[0].image",
        "give impasto.StyleName('styles/waves')",
    ),
    "digest": (
        lambda c: c.stylize(f"sha256:{DIGEST}", png()),
        "spec.content",
        f"give impasto.UploadedImage('{DIGEST}')",
    ),
    "one region": (
        lambda c: c.stylize(png(), png(), regions=impasto.Region(png())),
        "spec.regions",
        "give a list of impasto.Region",
    ),
    "mask as region": (
        lambda c: c.stylize(png(), png(), regions=[png()]),
        "spec.regions[0]",
        "give an impasto.Region(mask, style=0)",
    ),
    "triple as style": (
        lambda c: c.stylize(png(), [(png(), 1.0, 2)]),
        "spec.styles[0]",
        "give an image, or an image and its weight",
    ),
    "format as previews": (
        lambda c: c.stylize(png(), png(), previews="jpeg"),
        "preview",
        "cannot be 'jpeg'; give True, False or impasto.Previews(format='jpeg')",
    ),
    "text as timeout": (
        lambda c: c.stylize(png(), png(), timeout="5"),
        "timeout",
        "is '5'; give seconds above 0, or None for no limit",
    ),
    "nothing to download": (lambda c: c.download(), "source", "is missing; give one of result_of, "),
    "unclear download": (
        lambda c: c.download("starry-night"),
        "source",
        "cannot be 'starry-night'; give a job's name ('jobs/…') or an image's digest ('sha256:…')",
    ),
    "two downloads": (
        lambda c: c.download("jobs/1", sha256=DIGEST),
        "source",
        "is result_of and sha256; give one of",
    ),
}


@pytest.mark.parametrize("mistake", INVALID)
def test_a_wrong_value_is_refused_before_any_call(client: Any, fake: FakeServer, mistake: str) -> None:
    call, field, remedy = INVALID[mistake]
    with pytest.raises(impasto.InvalidRequest) as caught:
        call(client)
    assert caught.value.field == field
    assert remedy in caught.value.remedy
    assert not fake.calls


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"address": "http://gpu:50051"}, ValueError, "give HOST:PORT, .*, here gpu:50051"),
        ({"address": None}, TypeError, "an address cannot be None"),
        ({"tls": "ca.pem"}, TypeError, "give True, or impasto.Tls"),
        ({"token": 3}, TypeError, "token cannot be of the type int; give it as a text"),
        ({"timeout": "5"}, ValueError, "timeout is '5'; give seconds above 0"),
        ({"patience": 0}, ValueError, "patience is 0; give seconds above 0"),
    ],
)
def test_a_client_with_wrong_options_is_not_made(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        impasto.Client(**{"address": "127.0.0.1", **options})


def test_a_client_without_an_address_is_not_made() -> None:
    class Studio(impasto.Client):
        pass

    for kind, name in ((impasto.Client, "Client"), (impasto.aio.Client, "Client"), (Studio, r"\S*Studio")):
        with pytest.raises(TypeError, match=rf"^{name}\.__init__\(\) missing 1 required .* 'address'"):
            kind()  # type: ignore[call-arg]


AFTER_CLOSING: dict[str, Call] = {
    "info": lambda c: c.info(),
    "stylize": lambda c: c.stylize(png(), png()),
    "watch": lambda c: c.watch("jobs/fake"),
    "jobs": lambda c: list(c.jobs()),
    "upload": lambda c: c.upload(png()),
    "download": lambda c: c.download("jobs/fake"),
    "delete": lambda c: c.delete("jobs/fake"),
}


@pytest.mark.parametrize("call", AFTER_CLOSING)
def test_a_closed_client_makes_no_calls(way: str, fake: FakeServer, call: str) -> None:
    client = impasto.Client(fake.address)
    client.info()
    client.close()
    calls = len(fake.calls)
    with pytest.raises(impasto.ImpastoError, match=r"^the client is closed; make a new one$") as caught:
        AFTER_CLOSING[call](client)
    assert isinstance(caught.value, impasto.ClientClosed)
    assert len(fake.calls) == calls
    client.close()


def test_the_painting_of_a_closed_client_can_be_closed(way: str, fake: FakeServer) -> None:
    client = impasto.Client(fake.address)
    painting = client.stylize(png(), png(), keep_running=True)
    client.close()
    painting.cancel()
    painting.close()


def test_calls_by_their_names_in_the_contract_are_told_by_their_names_in_python(client: Any) -> None:
    for other, name in (("list_jobs", "jobs"), ("get_job", "job"), ("get_server_info", "info")):
        with pytest.raises(AttributeError, match=rf"no attribute '{other}'; did you mean '{name}'"):
            getattr(client, other)
    with pytest.raises(AttributeError, match=r"'Client' has no attribute 'nothing'$"):
        client.nothing  # noqa: B018


def test_calls_take_a_job_or_a_painting_in_place_of_a_name(client: Any, fake: FakeServer) -> None:
    job = client.create_job(png(), png())
    assert client.job(job) == client.job(job.name)
    assert client.download(job).sha256 == client.download(result_of=job).sha256
    fake.jobs["jobs/fake"] = pb.Job(name="jobs/fake")
    painting = client.watch("jobs/fake")
    assert client.job(painting) == client.job("jobs/fake")
    fake.images[DIGEST] = png()
    for image in (f"sha256:{DIGEST}", DIGEST, impasto.UploadedImage(DIGEST)):
        assert client.download(image).data == png()
    assert client.download(sha256=impasto.UploadedImage(DIGEST)).data == png()


def test_one_state_may_be_given_alone(client: Any, fake: FakeServer) -> None:
    list(client.jobs("running"))
    (request,) = fake.called("ListJobs")
    assert len(request.states) == 1


def test_a_recipe_named_after_its_objective_is_sent(client: Any, fake: FakeServer) -> None:
    client.stylize(png(), png(), recipe="gatys", size=64).result()
    recipe = fake.requests[0].spec.recipe
    assert (recipe.objective, recipe.longest_side) == (2, 64)


def test_the_asyncio_client_refuses_wrong_calls_too(fake: FakeServer) -> None:
    async def errand() -> None:
        async with impasto.aio.Client(fake.address) as client:
            with pytest.raises(TypeError, match="did you mean 'size'"):
                await client.stylize(png(), png(), longest_side=640)  # type: ignore[call-arg]
            with pytest.raises(TypeError, match="call it as jobs"):
                client.jobs([], 1)  # type: ignore[call-arg]

    asyncio.run(errand())


def test_a_subclass_may_have_its_own_constructor(fake: FakeServer) -> None:
    class Studio(impasto.Client):
        def __init__(self) -> None:
            super().__init__(fake.address)

    class Sub(Studio):
        pass

    for kind in (Studio, Sub):
        with kind() as client:
            assert client.info().version == "9.9"
