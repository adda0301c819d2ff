"""Finds the images in a specification."""

from __future__ import annotations

from collections.abc import Iterator

from impasto.v1 import style_transfer_pb2 as pb


def images_of(spec: pb.JobSpec) -> Iterator[tuple[str, pb.Image]]:
    """Yields every image of a specification with its path, such as "content" or "styles[0].image"."""
    for field in ("content", "start_image", "selection"):
        if spec.HasField(field):
            yield field, getattr(spec, field)
    for index, style in enumerate(spec.styles):
        if style.HasField("image"):
            yield f"styles[{index}].image", style.image
    for index, region in enumerate(spec.regions):
        for field in ("content_mask", "style_mask"):
            if region.HasField(field):
                yield f"regions[{index}].{field}", getattr(region, field)
