"""The files that the command line reads and writes: checked before the work, in the right format."""

from __future__ import annotations

import errno
import functools
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from impasto import files
from impasto import png as own_png
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.command_line import Impasto
from support.fake_server import FakeServer, png

LONG = "x" * 300 + ".png"


@pytest.mark.parametrize(
    ("name", "format", "asked"),
    [
        ("out.tif", None, "TIFF"),
        ("out.TIFF", "tiff16", "TIFF"),
        ("out.jpg", None, "JPEG"),
        ("out.jpeg", "jpeg", "JPEG"),
        ("out.webp", None, "WEBP"),
        ("out.png", "png16", None),
        ("out.png", "png", None),
    ],
)
def test_the_ending_of_the_name_sets_the_format(
    stylize: Impasto, fake: FakeServer, name: str, format: str | None, asked: str | None
) -> None:
    fake.result = b"coded otherwise"
    outcome = stylize("-o", name, "--json", *(("--format", format) if format else ()))
    assert outcome.code == 0, outcome.err
    assert outcome.lines[-1]["size_bytes"] == Path(name).stat().st_size
    assert outcome.lines[-1]["format"] == (asked or "png").lower()
    sixteen = format in ("png16", "tiff16")
    assert fake.requests[0].spec.result_format == (pb.IMAGE_FORMAT_PNG_16 if sixteen else 0)
    downloads = [pb.ImageFormat.Name(request.format) for request in fake.called("DownloadImage")]
    assert downloads == ([f"IMAGE_FORMAT_{asked}"] if asked else [])
    assert Path(name).read_bytes() == (fake.result if asked else png())


def test_the_other_commands_have_format_too(impasto: Impasto, fake: FakeServer) -> None:
    at = ("--server", fake.address)
    assert impasto("texture", "style.png", "--size", 64, "-o", "t.tif", "--format", "tiff16", *at).code == 0
    assert impasto("demo", "-o", "d.jpg", *at).code == 0
    assert impasto("submit", "content.png", "style.png", "--format", "png16", *at).code == 0
    formats = [request.spec.result_format for request in (*fake.requests, *fake.called("CreateJob"))]
    assert formats == [pb.IMAGE_FORMAT_PNG_16, 0, pb.IMAGE_FORMAT_PNG_16]


def test_again_keeps_the_bits_per_channel(impasto: Impasto, fake: FakeServer) -> None:
    fake.script = fake_server.paint_recorded
    at = ("--server", fake.address)
    assert impasto("stylize", "content.png", "style.png", "-o", "out.png", *at).code == 0
    picture = own_png.write(48, 32, 3, 16, os.urandom(48 * 32 * 6))
    # With the text of the one that was painted.
    text = Path("out.png").read_bytes()
    start = text.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(text[start : start + 4], "big")
    Path("16.png").write_bytes(picture[:33] + text[start:end] + picture[33:])
    for name, options in (
        ("a.png", []),
        ("b.tif", []),
        ("c.png", ["--format", "png"]),
        ("d.png", ["--format", "png16"]),
    ):
        outcome = impasto("again", "16.png", "content.png", "style.png", "-o", name, *options, *at)
        assert outcome.code == 0, outcome.err
        assert "16.png by at most" in outcome.out
    asked = [request.spec.result_format for request in fake.requests[1:]]
    assert asked == [pb.IMAGE_FORMAT_PNG_16, pb.IMAGE_FORMAT_PNG_16, 0, pb.IMAGE_FORMAT_PNG_16]


def test_again_keeps_the_bits_of_a_sidecar(impasto: Impasto, fake: FakeServer) -> None:
    def paint(request: pb.StylizeRequest, context: object) -> object:
        yield from fake_server.begin()
        yield fake_server.succeeded()
        text = png(metadata=fake_server.metadata_of(request))
        start = text.index(b"iTXt") - 4
        end = start + 12 + int.from_bytes(text[start : start + 4], "big")
        picture = own_png.write(48, 32, 3, 16, bytes(48 * 32 * 6))
        for chunk in fake_server.chunks(picture[:33] + text[start:end] + picture[33:]):
            yield pb.StylizeResponse(result=chunk)

    fake.script = paint  # type: ignore[assignment]
    images, at = ("content.png", "style.png"), ("--server", fake.address)
    assert impasto("stylize", *images, "-o", "a.png", "--format", "png16", "--sidecar", *at).code == 0
    assert impasto("again", "a.json", *images, "-o", "b.png", *at).code == 0
    assert [request.spec.result_format for request in fake.requests[:2]] == [pb.IMAGE_FORMAT_PNG_16] * 2
    outcome = impasto("again", "a.png", *images, "-o", "c.png", *at)
    assert "identical to a.png, pixel for pixel" in outcome.out


def test_a_file_may_have_the_longest_name(stylize: Impasto) -> None:
    for length in (245, 251):
        name = "x" * length + ".png"
        assert stylize("-o", name).code == 0
        assert Path(name).read_bytes() == png()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", LONG], "its name is too long; give a shorter one"),
        (["-o", ""], "--out is empty; give the name of a file"),
        (["-o", "."], "--out . is a folder; give a file's name: out.png"),
        (["-o", ".png"], ".png has nothing before its ending; give a whole name, as out.png"),
        (
            ["-o", "folder.png/.JPG"],
            "folder.png/.JPG has nothing before its ending; give a whole name, as out.JPG",
        ),
        (["-o", "out"], "out does not end in .png"),
        (["--animate", ""], "--animate is empty; give the name of a file"),
        (["--animate", "."], "--animate . is a folder; give a file's name: film.webp"),
        (["--animate", ".webp"], "--animate .webp has no name before its ending"),
        (["--start", ""], "--start is empty; give content, noise or a file's name"),
        (["--start", "."], "--start . is a folder; give a file"),
        (["--selection", ""], "--selection is empty; give the name of a file"),
        (["--selection", "."], "--selection . is a folder; give a file"),
        (["--preview-dir", ""], "--preview-dir is empty; give the name of a folder"),
        (["-o", "folder.png"], "folder.png is a folder; give a file's name"),
        (["-o", "pipe.png"], "pipe.png is a device, a pipe or a socket"),
        (["-o", "loop.png"], "loop.png cannot be written: Too many levels"),
        (["-o", "dangling.png"], "there is no folder"),
        (["-o", "content.png/out.png"], "there is no folder content.png"),
        (["--animate", "x" * 300 + ".webp"], "its name is too long"),
        (["--animate", "none/film.webp"], "there is no folder none"),
        (["-o", "a.webp", "--animate", "./a.webp"], "--animate a.webp is the same file as --out a.webp"),
        (["-o", "x" * 252 + ".webp", "--sidecar"], "its name is too long"),
        (["--preview-dir", "x" * 300], "--preview-dir xxx"),
        (
            ["--preview-dir", "content.png/previews"],
            "--preview-dir content.png/previews cannot be used: Not a directory",
        ),
        (["--preview-dir", "dangling.png"], "--preview-dir dangling.png cannot be used: No such file"),
        (["--start", LONG], "its name is too long"),
        (["--region", f"content.png,style={'9' * 5000}"], "content.png,style=999"),
        (
            ["--region", "content.png,foo=1"],
            "--region content.png,foo=1: foo= has no meaning here, and there is no file "
            "content.png,foo=1; give MASK[,style=N][,style-mask=FILE]",
        ),
        (["--region", "content.png,style=one"], "style= has no meaning here"),
        (
            ["--region", "content.png,style-mask=style.png,style=1"],
            "style= has no meaning here, and there is no file style.png,style=1;",
        ),
        (["--region", "none.png,style=1"], "--region none.png: there is no such file\n"),
        (["-o", "x.png", "--format", "tiff16"], "as a tiff16 does; give another name, or --format png16\n"),
        (["-o", "x.tif", "--format", "png16"], "as a png16 does; give another name, or --format tiff16\n"),
        (["-o", "x.jpg", "--format", "png16"], "as a png16 does; give another name, or --format jpeg\n"),
        (["-o", "x.tif", "--format", "png"], "as a png does; give another name, or --format tiff\n"),
        (["-o", "d/" * 2050 + "x.png"], "cannot be written: its name is too long; give a shorter one"),
        (
            ["--animate", "d/" * 2050 + "x.webp"],
            "cannot be written: its name is too long; give a shorter one",
        ),
        (["--start", "/dev/zero"], "/dev/zero is a device or a socket; give a regular file"),
    ],
)
def test_files_that_cannot_be_read_or_written_are_refused_before_the_work(
    stylize: Impasto, fake: FakeServer, arguments: list[str], message: str
) -> None:
    Path("folder.png").mkdir()
    os.mkfifo("pipe.png")
    Path("loop.png").symlink_to("loop.png")
    Path("dangling.png").symlink_to("none/out.png")
    before = sorted(os.listdir())
    outcome = stylize(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Error: ")
    assert message in outcome.err
    assert sorted(os.listdir()) == before
    assert not fake.calls


@pytest.mark.parametrize("command", [["stylize", "", "style.png"], ["stylize", "content.png", ""]])
def test_an_image_without_a_name(impasto: Impasto, fake: FakeServer, command: list[str]) -> None:
    for arguments in ([*command, "-o", "o.png"], ["submit", *command[1:]]):
        outcome = impasto(*arguments, "--server", fake.address)
        assert outcome.code == 2
        argument = "STYLE" if command[1] else "CONTENT"
        assert outcome.err == f"Error: {argument} is empty; give the name of a file\n"
    assert impasto("again", "", "content.png", "style.png", "-o", "o.png", "--server", fake.address).code == 2
    assert not fake.calls


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "https://example.org/a.png",
            "https://example.org/a.png is a web address; download it first, ",
        ),
        ("FTP://example.org/a.png", "FTP://example.org/a.png is a web address; download it first, "),
        ("file:///home/a.png", "file:///home/a.png is a URL; give the file's name without file://"),
    ],
)
@pytest.mark.parametrize(
    "option", ["", "--start ", "--selection ", "--region ", "--region content.png,style-mask="]
)
def test_a_url_instead_of_a_file(
    stylize: Impasto, fake: FakeServer, option: str, name: str, said: str
) -> None:
    if option:
        before, _, after = option.partition(" ")
        outcome = stylize(before, after + name)
    else:
        outcome = stylize(name)
    assert outcome.code == 2
    # In a path, two slashes are one.
    assert outcome.err.replace("file:/home", "file:///home").startswith(f"Error: {option}{said}")
    assert not fake.calls


@pytest.mark.parametrize("content", [LONG, "a\0b", "/dev/null", "."])
def test_a_content_that_is_no_file(impasto: Impasto, fake: FakeServer, content: str) -> None:
    for command in (["stylize", content, "style.png", "-o", "o.png"], ["submit", content, "style.png"]):
        outcome = impasto(*command, "--server", fake.address)
        assert outcome.code == 2
        assert outcome.err.startswith("Error: ")
    assert not fake.calls


def with_alpha(mode: str, alpha: int) -> bytes:
    """A grey picture, opaque but for a pixel."""
    colour = (90,) * (len(mode) - 1)
    picture = Image.new(mode, (20, 20), (*colour, 255))
    picture.putpixel((3, 3), (*colour, alpha))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(
    ("name", "alpha", "warned"),
    [
        ("o.jpg", 254, True),
        ("o.jpeg", 0, True),
        ("o.jpg", 255, False),
        ("o.webp", 0, False),
        ("o.png", 0, False),
    ],
)
def test_a_jpeg_that_loses_transparency_gets_a_warning(
    stylize: Impasto, fake: FakeServer, mode: str, name: str, alpha: int, warned: bool
) -> None:
    fake.script = functools.partial(fake_server.paint_as, with_alpha(mode, alpha))
    outcome = stylize("-o", name, "--quiet")
    assert outcome.code == 0, outcome.err
    assert outcome.err == (
        f"Warning: {name} has a white background: the picture is transparent, which a JPEG cannot be; "
        "write a PNG, TIFF or WebP to keep the transparency\n"
        if warned
        else ""
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-o", "x.webp", "--animate", "x.webp"],
            "--animate x.webp is the same file as --out x.webp; give another name",
        ),
        (["-o", "x.webp", "--animate", "sub/../x.webp"], "--animate sub/../x.webp is the same file as"),
        (["-o", "x.webp", "--animate", "here/x.webp"], "--animate here/x.webp is the same file as"),
        (["-o", "x.webp", "--animate", "link.webp"], "--animate link.webp is the same file as"),
        (["-o", "here/x.webp", "--animate", "link.webp"], "--animate link.webp is the same file as"),
        (["-o", "old.webp", "--animate", "hard.webp"], "--animate hard.webp is the same file as"),
        (["-o", "side.png", "--sidecar"], "the sidecar side.json is the same file as --out side.png"),
        (
            ["-o", "p.png", "--animate", "f.webp", "--sidecar"],
            "the sidecar p.json is the same file as --animate f.webp",
        ),
        (["-o", "sub/0001.jpg", "--preview-dir", "sub"], "a preview would overwrite sub/0001.jpg"),
        (["--animate", "sub/0012.webp", "--preview-dir", "here/sub"], "would overwrite sub/0012.webp"),
        (["--start", "sub/0007.png", "--preview-dir", "sub"], "would overwrite sub/0007.png"),
        (["-o", "new.png", "--preview-dir", "new.png"], "--preview-dir new.png: new.png will be a file"),
        (
            ["-o", "new.png", "--preview-dir", "./new.png/deep"],
            "new.png will be a file; give another folder",
        ),
    ],
)
def test_no_file_is_written_twice_or_overwritten_if_it_is_read(
    stylize: Impasto, fake: FakeServer, arguments: list[str], message: str
) -> None:
    Path("here").symlink_to(".")
    Path("link.webp").symlink_to("x.webp")
    Path("side.json").symlink_to("side.png")
    Path("p.json").symlink_to("f.webp")
    Path("sub").mkdir()
    Path("sub/0007.png").write_bytes(png())
    Path("old.webp").write_bytes(png())
    os.link("old.webp", "hard.webp")
    outcome = stylize(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Error: ")
    assert message in outcome.err
    assert not fake.calls
    assert Path("old.webp").read_bytes() == png()


def test_outputs_may_be_in_one_folder(stylize: Impasto, fake: FakeServer) -> None:
    options = ("--sidecar", "--animate", "previews/film.webp", "--preview-dir", "previews")
    Path("previews").mkdir()
    assert stylize("-o", "previews/out.png", *options).code == 0
    assert stylize("-o", "previews/00001a.png", *options).code == 0


def test_the_content_may_be_a_pipe(impasto: Impasto, fake: FakeServer) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(png(),))
    writer.start()
    outcome = impasto("stylize", "pipe", "style.png", "-o", "o.png", "--server", fake.address)
    writer.join()
    assert outcome.code == 0, outcome.err
    assert fake.requests[0].spec.content.encoded == png()


def test_a_pipe_that_stays_silent_is_refused(
    impasto: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIPE_PATIENCE", 0.1)
    os.mkfifo("pipe")
    for arguments, named in (
        (["stylize", "pipe", "style.png"], "pipe"),
        (["stylize", "content.png", "style.png", "--region", "pipe"], "--region pipe"),
        (
            ["stylize", "content.png", "style.png", "--region", "style.png,style-mask=pipe"],
            "--region style.png,style-mask=pipe",
        ),
        (["stylize", "content.png", "style.png", "--selection", "pipe"], "--selection"),
        (["again", "pipe", "content.png", "style.png"], "pipe"),
    ):
        outcome = impasto(*arguments, "-o", "o.png", "--server", fake.address)
        assert outcome.code == 2
        assert outcome.err == f"Error: {named} is a pipe that was silent for 0.1 s; give a file\n"


def test_a_refused_job_leaves_no_folder_of_previews(stylize: Impasto, fake: FakeServer) -> None:
    fake.script = fake_server.refuse(fake_server.grpc.StatusCode.INVALID_ARGUMENT, "no")
    assert stylize("--preview-dir", "deep/previews").code == 2
    assert not Path("deep").exists()
    fake.script = fake_server.paint
    assert stylize("--preview-dir", "deep/previews").code == 0
    assert len(os.listdir("deep/previews")) == 4


def test_a_file_that_disappears_meanwhile(stylize: Impasto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.cli.output.check_readable", lambda path: None)
    Path("style.png").unlink()
    outcome = stylize()
    assert (outcome.code, outcome.err) == (2, "Error: style.png cannot be read: No such file or directory\n")


def test_a_folder_that_may_not_be_read(
    stylize: Impasto, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = Path("locked").absolute()
    locked.mkdir(mode=0)
    if os.geteuid() == 0:
        # Root may look into every folder: the system's refusal is acted.
        for name in ("stat", "lstat", "open"):
            monkeypatch.setattr(os, name, functools.partial(refused_within, locked, getattr(os, name)))
    for option, file in (("-o", "locked/x.png"), ("--animate", "locked/x.webp"), ("-o", "locked/deep/x.png")):
        outcome = stylize(option, file)
        assert outcome.code == 2
        assert outcome.err == (
            f"Error: {'--out' if option == '-o' else option} {file}: the folder {Path(file).parent} is not "
            "writable; give another folder\n"
        )
    assert not fake.calls


def refused_within(folder: Path, call: Any, path: Any, *arguments: Any, **named: Any) -> Any:
    """Calls a function about files, but for those within a folder."""
    if isinstance(path, (str, os.PathLike)) and folder in Path(path).absolute().parents:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return call(path, *arguments, **named)


def test_the_name_of_a_mask_may_look_like_a_key_of_region(stylize: Impasto, fake: FakeServer) -> None:
    name = "mask,foo=1.png"
    Path(name).write_bytes(png(9, 9))
    assert stylize("--region", f"{name},style=1").code == 0
    assert fake.requests[0].spec.regions[0].content_mask.encoded == png(9, 9)
