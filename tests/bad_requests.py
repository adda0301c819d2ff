"""Requests that cannot be painted, each with the field that is at fault."""

from __future__ import annotations

import struct
import zlib

from impasto.v1 import style_transfer_pb2 as pb
from samples import coded, photo, stylize_request


def _huge_png() -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(b"\0"), b"IEND")
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _without_styles() -> pb.StylizeRequest:
    request = stylize_request()
    del request.spec.styles[:]
    return request


def _with_style_weight(weight: float) -> pb.StylizeRequest:
    request = stylize_request()
    request.spec.styles[0].weight = weight
    return request


BAD_REQUESTS: dict[str, tuple[pb.StylizeRequest, str]] = {
    "nothing": (pb.StylizeRequest(), "spec.content"),
    "not an image": (stylize_request(b"This is no image."), "spec.content"),
    "truncated png": (stylize_request(coded(photo())[:-40]), "spec.content"),
    "truncated jpeg": (stylize_request(style=coded(photo(), "JPEG")[:-40]), "spec.styles[0].image"),
    "truncated webp": (stylize_request(coded(photo(), "WEBP")[:-40]), "spec.content"),
    "truncated tiff": (stylize_request(coded(photo(), "TIFF")[:200]), "spec.content"),
    "50,000 × 50,000": (stylize_request(_huge_png()), "spec.content"),
    "huge style": (stylize_request(style=_huge_png()), "spec.styles[0].image"),
    "zero side": (stylize_request(recipe=pb.Recipe(longest_side=0)), "spec.recipe.longest_side"),
    "100,000 px side": (stylize_request(recipe=pb.Recipe(longest_side=100_000)), "spec.recipe.longest_side"),
    "too narrow": (stylize_request(coded(photo(2000, 4))), "spec.recipe.longest_side"),
    "negative weight": (stylize_request(recipe=pb.Recipe(content_weight=-1)), "spec.recipe.content_weight"),
    "not a number": (stylize_request(recipe=pb.Recipe(tv_weight=float("nan"))), "spec.recipe.tv_weight"),
    "negative style weight": (_with_style_weight(-1), "spec.styles[0].weight"),
    "no style": (_without_styles(), "spec.styles"),
    "unknown recipe": (stylize_request(recipe=pb.Recipe(objective=42)), "spec.recipe.objective"),
    "no evaluations": (stylize_request(recipe=pb.Recipe(evaluations=0)), "spec.recipe.evaluations"),
    "start image missing": (stylize_request(recipe=pb.Recipe(start=pb.START_IMAGE)), "spec.start_image"),
    "preview as tiff": (
        stylize_request(preview=pb.PreviewOptions(format=pb.IMAGE_FORMAT_TIFF)),
        "preview.format",
    ),
}
