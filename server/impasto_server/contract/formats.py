"""How images may be coded, as the contract and as Pillow name it."""

from __future__ import annotations

from impasto.v1 import style_transfer_pb2 as pb

ACCEPTED = {
    pb.IMAGE_FORMAT_PNG: "PNG",
    pb.IMAGE_FORMAT_JPEG: "JPEG",
    pb.IMAGE_FORMAT_WEBP: "WEBP",
    pb.IMAGE_FORMAT_TIFF: "TIFF",
}
"""Codings of the images that callers send."""

PREVIEWS = {format: name for format, name in ACCEPTED.items() if name != "TIFF"}
"""Codings of previews."""
