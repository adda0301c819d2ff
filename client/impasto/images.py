"""Images as messages of a request."""

from __future__ import annotations

import errno
import os
import re
from typing import Any, cast

from impasto import pixels, png
from impasto.errors import invalid_field
from impasto.files import read_whole
from impasto.recipe import ImageSource, RawPixels, StyleName, UploadedImage
from impasto.v1 import style_transfer_pb2 as pb


def image_message(source: ImageSource, path: str = "image") -> pb.Image:
    """Return an image as a message: files and coded bytes unchanged, other images coded without loss.

    Args:
        path: the image's place in the request, for errors.

    Raises:
        InvalidRequest: it is the address of a web page, a name or digest of the wrong form, or pixels that
            cannot be sent.
        OSError: its file cannot be read.
        TypeError: it has an unsupported type.
    """
    if isinstance(source, StyleName):
        if not isinstance(source.name, str) or not re.fullmatch("styles/[a-z0-9-]+", source.name):
            raise invalid_field(
                path, f"cannot be the style {source.name!r}; give a name such as 'styles/starry-night'"
            )
        return pb.Image(style=source.name)
    if isinstance(source, UploadedImage):
        if not isinstance(source.sha256, str) or not re.fullmatch("[0-9a-f]{64}", source.sha256):
            raise invalid_field(
                path, f"cannot be the image {source.sha256!r}; give its SHA-256, 64 hexadecimal digits"
            )
        return pb.Image(sha256=source.sha256)
    if isinstance(source, RawPixels):
        return pb.Image(raw=_raw_message(source, path))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return pb.Image(encoded=bytes(source))
    if isinstance(source, (str, os.PathLike)):
        return pb.Image(encoded=_read(source, path))
    try:
        if pixels.is_pillow(source):
            return pb.Image(encoded=pixels.pillow_file(cast("Any", source)))
        if pixels.is_array(source):
            return pb.Image(encoded=pixels.array_file(source))
    except ValueError as error:
        raise invalid_field(path, str(error)) from None
    raise TypeError(
        f"{path} cannot be of the type {type(source).__name__}; give a path, bytes, a Pillow image, a NumPy "
        "array, impasto.RawPixels, impasto.StyleName or impasto.UploadedImage"
    )


def image_file(source: ImageSource) -> bytes:
    """Return an image as a coded file; raw pixels become a PNG.

    Raises:
        InvalidRequest: it is empty, the server has it already, or it has more or fewer pixels than its size
            says.
        OSError, TypeError: as for `image_message`.
    """
    message = image_message(source)
    kind = message.WhichOneof("source")
    if kind == "encoded":
        if not message.encoded:
            raise invalid_field("image", "is empty; give a PNG, JPEG, WebP or TIFF file")
        return message.encoded
    if kind != "raw":
        raise invalid_field("image", f"is on the server already ({source!r}); give one that is not")
    try:
        return png.encode(raw_pixels(message.raw))
    except ValueError as error:
        raise invalid_field("image", str(error)) from None


def raw_pixels(message: pb.RawPixels) -> RawPixels:
    """Raw pixels as plain data."""
    return RawPixels(message.width, message.height, message.rgba, message.bits_per_channel or 8)


_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://")


def _read(source: str | os.PathLike[str], path: str) -> bytes:
    try:
        return read_whole(source)
    except OSError as error:
        name = os.fspath(source)
        if isinstance(error, FileNotFoundError) and isinstance(name, str):
            _check_meaning(name, path)
        # These say what is wrong with the image and what to do.
        if error.errno in (errno.EINVAL, errno.EFBIG, errno.ETIMEDOUT):
            raise invalid_field(path, error.strerror or str(error)) from None
        raise


def _check_meaning(name: str, path: str) -> None:
    """Check that a path without a file is not another way to name an image.

    Raises:
        InvalidRequest: it is.
    """
    if url := _URL.match(name):
        remedy = "give the path alone" if url["scheme"].lower() == "file" else "download it first"
        raise invalid_field(path, f"is the address {name}; {remedy}")
    if re.fullmatch("styles/[a-z0-9-]+", name):
        raise invalid_field(
            path, f"is no file: {name}; for a style of the server give impasto.StyleName({name!r})"
        )
    if re.fullmatch("(sha256:)?[0-9a-f]{64}", name):
        digest = name.removeprefix("sha256:")
        raise invalid_field(
            path,
            f"is no file: {name}; for an image on the server give impasto.UploadedImage({digest!r})",
        )


def _raw_message(source: RawPixels, path: str) -> pb.RawPixels:
    try:
        message = pb.RawPixels(rgba=bytes(memoryview(source.rgba)))
    except TypeError:
        kind = type(source.rgba).__name__
        raise invalid_field(f"{path}.raw.rgba", f"cannot be of the type {kind}; give bytes") from None
    for name in ("width", "height"):
        value = getattr(source, name)
        try:
            setattr(message, name, value)
        except (TypeError, ValueError):
            raise invalid_field(f"{path}.raw.{name}", f"cannot be {value!r}; give a whole number") from None
    if source.bits_per_channel not in (8, 16):
        raise invalid_field(
            f"{path}.raw.bits_per_channel", f"cannot be {source.bits_per_channel!r}; give 8 or 16"
        )
    # Older servers do not know the field.
    if source.bits_per_channel == 16:
        message.bits_per_channel = 16
    return message
