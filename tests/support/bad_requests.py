"""Requests that cannot be painted, each with the name of the invalid field."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, mask, photo, stylize_request, texture_request


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


def _with_region(**fields: Any) -> pb.StylizeRequest:
    request = stylize_request()
    request.spec.regions.add(content_mask=pb.Image(encoded=coded(mask()))).MergeFrom(pb.Region(**fields))
    return request


def _with_selection(selection: bytes) -> pb.StylizeRequest:
    request = stylize_request()
    request.spec.selection.encoded = selection
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
    "texture of one pixel": (texture_request(1, 1), "spec.texture.width"),
    "huge texture": (texture_request(64, 2**32 - 1), "spec.texture.height"),
    "texture in the content's colours": (
        texture_request(32, 32, recipe=pb.Recipe(color=pb.COLOR_MATCHED)),
        "spec.recipe.color",
    ),
    "region of no style": (_with_region(style=7), "spec.regions[0].style"),
    "huge mask": (
        _with_region(content_mask=pb.Image(encoded=_huge_png())),
        "spec.regions[0].content_mask",
    ),
    "style mask not an image": (
        _with_region(style_mask=pb.Image(encoded=b"no image")),
        "spec.regions[0].style_mask",
    ),
    "truncated selection": (_with_selection(coded(mask())[:-30]), "spec.selection"),
    "unknown layer": (
        stylize_request(recipe=pb.Recipe(style_layers=[pb.LayerWeight(layer="conv1", weight=1)])),
        "spec.recipe.style_layers[0].layer",
    ),
}
