"""Image formats: the contract's values and Pillow's names for them."""

from __future__ import annotations

from impasto.v1 import style_transfer_pb2 as pb

ACCEPTED = {
    pb.IMAGE_FORMAT_PNG: "PNG",
    pb.IMAGE_FORMAT_JPEG: "JPEG",
    pb.IMAGE_FORMAT_WEBP: "WEBP",
    pb.IMAGE_FORMAT_TIFF: "TIFF",
}
"""Formats of the images that callers send."""

PREVIEWS = {format: name for format, name in ACCEPTED.items() if name != "TIFF"}
"""Formats of previews."""
