"""What artists are told: every error of the client, and every message that the server can send."""

from __future__ import annotations

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto import diagnosis, errors
from impasto.errors import (
    ImpastoError,
    ResourceExhausted,
    Unavailable,
    Unreachable,
    invalid_field,
)
from impasto.hosts import Server, plan, words
from impasto.hosts.refusals import explained, subject
from impasto.hosts.translate import use
from impasto_server.intake.faults import unsupported
from impasto_server.intake.headers import _OTHER_FORMATS
from support.told_errors import TOLD

SERVER = Path(__file__).parents[2] / "server" / "impasto_server"
STUDIO = "studio:50051"
SETTINGS, AGAIN = words.SERVER_SETTINGS, words.TRY_AGAIN


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    use(["en"])
    yield
    use(["en"])


@pytest.mark.parametrize(("error", "address", "short", "remedy"), TOLD)
def test_what_an_artist_is_told(error: Exception, address: str, short: str, remedy: str) -> None:
    told = words.tell(error, address, styles=["Starry", "Mine"], areas=["Sky"])
    assert (told.short, told.remedy) == (short, remedy)
    said = words.sentence(error, address, styles=["Starry", "Mine"], areas=["Sky"])
    assert said.startswith(short)
    assert len(short) <= 60
    assert not re.search(r"spec\.|\[Errno|\.\.|\b[a-z]+_[a-z]+", said), said


def test_every_class_of_error_and_every_reason_of_the_server_is_in_the_table() -> None:
    classes = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert classes <= {type(error) for error, *_ in TOLD}
    reasons = set()
    for file in SERVER.rglob("*.py"):
        if "admin" in file.name or "on_ray" in file.parts or file.name.endswith("_pb2.py"):
            continue
        for call in (
            node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)
        ):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            if name not in ("status", "exhausted", "unavailable", "failed_precondition", "internal"):
                continue
            reasons |= {
                value.value
                for value in call.args
                if isinstance(value, ast.Constant)
                and re.fullmatch("[A-Z]+(_[A-Z]+)+|[A-Z]{4,}", str(value.value))
            }
    assert len(reasons) > 25
    told = {error.reason for error, *_ in TOLD if isinstance(error, ImpastoError)}
    # An invalid field is told by its path. Some do not get out of the server, or end a job. The others answer
    # calls that plugins do not make.
    assert reasons - told == {
        *("INVALID_FIELD", "NO_SUCH_RUN", "WORKER_DIED"),
        *("LINK_EXPIRED", "LINK_INVALID", "NO_DEVICE", "NOT_ADMINISTRATOR", "NO_PAGE"),
    }


def test_every_diagnosis_has_words_of_its_own() -> None:
    told = {
        kind: words.tell(Unreachable("x", cause="x", remedy="y", kind=kind), STUDIO)
        for kind in diagnosis.KINDS
    }
    assert len({each.short for each in told.values()}) == len(told)
    assert all(each.remedy == SETTINGS and len(each.short) <= 60 and each.details for each in told.values())
    source = Path(diagnosis.__file__).read_text("utf-8")
    for kind in diagnosis.KINDS:
        assert source.count(f'"{kind}"') >= 2, kind


def test_a_failed_job() -> None:
    assert words.failed(None).sentence == "The painting failed. The server did not say why. Try again."
    assert words.failed(Unavailable("x", reason="WORKER_DIED")).remedy == AGAIN
    assert words.failed(ResourceExhausted("x", reason="OUT_OF_MEMORY")).remedy == AGAIN
    style = invalid_field("spec.styles[0].image", "is truncated or damaged; send the whole file")
    assert words.failed(style, styles=["Mine"]).short == "Style “Mine”: The file is damaged or incomplete."


# What the server says of pictures and settings. Its sources have them all.


def remedies_of_pictures() -> Iterator[str]:
    """The texts of the faults that the server finds in pictures, with values where it has them."""
    for file in (
        *sorted((SERVER / "intake").glob("*.py")),
        SERVER / "gateway" / "submission.py",
        SERVER / "fleet" / "intake.py",
    ):
        for call in (
            node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)
        ):
            if not isinstance(call.func, ast.Name) or call.func.id != "PictureFault" or len(call.args) != 1:
                continue
            (text,) = call.args
            if isinstance(text, ast.Constant):
                yield str(text.value)
            elif isinstance(text, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "8" for part in text.values
                )


def test_every_fault_of_a_picture_is_in_an_artists_words() -> None:
    remedies = sorted(set(remedies_of_pictures()))
    assert len(remedies) > 22
    for remedy in remedies:
        if remedy.startswith("has fewer pixels than its size says"):
            continue  # Of raw pixels, which a plugin makes.
        if " pixels; scale it" in remedy or " file, which is not supported" in remedy:
            continue  # See below.
        told = words.tell(invalid_field("spec.styles[0].image", remedy), styles=["Mine"])
        assert told.short.startswith("Style “Mine”: The "), (remedy, told)
        assert told.details.endswith("."), remedy
        assert len(told.short) <= 60, told.short


def test_formats_that_the_server_knows_and_does_not_read() -> None:
    for _offset, _signature, name in _OTHER_FORMATS:
        fault = unsupported(name)
        told = words.tell(invalid_field("data", str(fault)))
        assert re.fullmatch(r"Style: The server cannot read [\w ()]+ files\.", told.short), told.short
    assert explained(str(unsupported("a GIF"))) == (
        "The server cannot read GIF files.",
        "Export it as PNG, TIFF or JPEG, and add it again.",
    )


@pytest.mark.parametrize(
    ("field", "remedy", "short", "details"),
    [
        (
            "selection",
            "is black everywhere; mark the area …",
            "Selection: Nothing is selected.",
            "Select the part that is to be painted.",
        ),
        (
            "content",
            "is 20000 × 9000 pixels; scale it to at most 100,000,000 pixels (width × height)",
            "Content: 20000 × 9000 pixels are too many.",
            "Make the picture smaller: the server takes at most 100 megapixels.",
        ),
        (
            "recipe.longest_side",
            "of 512 px leaves less than 16 px for the shorter side of the 9000 × 10 content image; "
            "give at least 14400",
            "Size: 512 px are too few for so long a shape.",
            "Choose a size of at least 14400 px.",
        ),
        (
            "recipe.longest_side",
            "of 512 px leaves less than 16 px for the shorter side of the 9000 × 1 content image; "
            "crop the image",
            "Size: 512 px are too few for so long a shape.",
            "Select a less narrow part.",
        ),
        ("styles", "has 17 styles; give 1 to 16", "Styles: 17 are too many.", "The server takes at most 16."),
        ("styles", "has 0 styles; give 1 to 16", "Styles: There is none.", "Choose at least one."),
        (
            "regions",
            "has 17 regions; give at most 16",
            "Areas: 17 are too many.",
            "The server takes at most 16.",
        ),
        (
            "regions[3].style",
            "is 2; give 0 to 1, the index of a style",
            "Area 4: The server does not accept 2.",
            "Choose 0 to 1.",
        ),
        (
            "styles[0].weight",
            "is -1; give a number above 0",
            "Share of style 1: The server does not accept -1.",
            "Choose more than 0.",
        ),
        (
            "recipe.style_scale",
            "is 99; give more than 0, at most 10",
            "Stroke size: The server does not accept 99.",
            "Choose more than 0.",
        ),
        (
            "recipe.seed",
            "is -1; give 0 or more",
            "Seed: The server does not accept -1.",
            "Choose at least 0.",
        ),
        (
            "recipe.effort",
            "is 9, an unknown value; give one of draft, standard, fine",
            "Effort: The server does not know “9”.",
            "Choose another one, or ask the server's administrator to update the server.",
        ),
        (
            "recipe.color",
            "cannot change while the job is painted; leave it at style",
            "Colours: This cannot change while the picture is painted.",
            "Wait until it is finished, or cancel it.",
        ),
        (
            "recipe.content_weight",
            "is given, but a texture has no content; leave it out",
            "Strength: A texture does not take this.",
            "Leave it out, or paint a picture instead.",
        ),
        (
            "texture.width",
            "is 9000 px; give 16 to 8192",
            "Size: The server does not accept 9000.",
            "Choose 16 to 8192.",
        ),
        ("title", "has 300 characters; give at most 200", "", ""),
    ],
)
def test_a_setting_that_the_server_refuses(field: str, remedy: str, short: str, details: str) -> None:
    told = words.tell(invalid_field(f"spec.{field}", remedy))
    if short:
        assert (told.short, told.details) == (short, details)
    assert len(told.short) <= 60


def test_no_path_of_the_contract_is_shown() -> None:
    for path in (
        "spec.styles[0].image.raw.rgba",
        "spec.content.raw.width",
        "spec.start_image",
        "spec.selection",
    ):
        assert subject(path)
        assert "[" not in subject(path)
    assert subject("linger") == ""


# Settings of a server, files and sizes.


@pytest.mark.parametrize(
    ("server", "short"),
    [
        (Server("what is this"), "“what is this” is not an address."),
        (Server("https://studio"), "“https://studio” is not an address."),
        (Server("studio:99999"), "“studio:99999” is not an address."),
        (Server("x" * 30 + "?"), "“xxxxxxxxxxx…xxxxxxxxxxx?” is not an address."),
        (Server(""), "“” is not an address."),
        (Server("studio", token="a b"), "The token has characters that no token has."),
        (Server("studio", token="abc"), "Your token would travel unencrypted."),
    ],
)
def test_settings_of_a_server_that_cannot_be_right(server: Server, short: str) -> None:
    with pytest.raises(words.ToldError) as refused:
        server.check()
    assert refused.value.told.short == short
    assert refused.value.told.remedy == SETTINGS
    assert refused.value.told.details


def test_settings_of_a_server_that_are_right() -> None:
    Server("studio", token="abc", tls=True).check()
    Server("studio", token="abc", allow_plaintext_token=True).check()
    Server("127.0.0.1:50051", token="abc").check()
    Server("unix:/run/impasto").check()


def test_a_part_that_is_too_small() -> None:
    with pytest.raises(words.ToldError) as refused:
        plan(3, 0, 512)
    assert refused.value.told.short == "3 × 0 pixels are too few to paint."
    assert "at least 16 pixels" in str(refused.value)


def test_names_are_shortened_in_their_middle() -> None:
    assert words.cut("studio:50051") == "studio:50051"
    assert words.cut("a" * 20 + "b" * 20) == "aaaaaaaaaaa…bbbbbbbbbbbb"
    assert len(words.cut("c" * 99)) == 24


def test_the_place_of_a_server() -> None:
    assert words.place("studio:50051") == "studio:50051"
    assert words.place(words.HERE) == "this computer"
    assert words.place("") == "the server"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error", "/a/b"), "network drive has a fault"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a/b"), "is in the way"),
        (FileExistsError(errno.EEXIST, "File exists", "/a/b"), "is in the way"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/a/b"), "a shorter one"),
    ],
)
def test_an_error_of_a_file_says_why_in_the_artists_words(error: OSError, said: str) -> None:
    told = words.sentence(error)
    assert said in told
    assert error.strerror not in told
    assert told.endswith("Its place: /a/b")
