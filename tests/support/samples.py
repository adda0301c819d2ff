"""Small images and requests for tests."""

from __future__ import annotations

import io
from typing import Any

import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb


def photo(width: int = 32, height: int = 24) -> PIL.Image.Image:
    """A smooth RGB picture whose corners all differ."""
    red = PIL.Image.linear_gradient("L").resize((width, height))
    green = PIL.Image.linear_gradient("L").rotate(90).resize((width, height))
    blue = PIL.Image.radial_gradient("L").resize((width, height))
    return PIL.Image.merge("RGB", (red, green, blue))


def mask(width: int = 32, height: int = 24) -> PIL.Image.Image:
    """A mask (mode L): its left half is white, its right half black."""
    levels = PIL.Image.new("L", (width, height), 0)
    levels.paste(255, (0, 0, width // 2, height))
    return levels


def coded(image: PIL.Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """An image encoded as a file."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def still_recipe(**fields: Any) -> pb.Recipe:
    """A recipe that makes one evaluation and leaves the content as it is."""
    return pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1, learning_rate=1e-9, **fields)


def stylize_request(
    content: bytes | None = None,
    *,
    style: bytes | None = None,
    recipe: pb.Recipe | None = None,
    **fields: Any,
) -> pb.StylizeRequest:
    """A request to paint a small photo, with six evaluations unless the recipe says otherwise."""
    spec = pb.JobSpec(
        content=pb.Image(encoded=coded(photo()) if content is None else content),
        styles=[pb.Style(image=pb.Image(encoded=coded(photo(20, 28)) if style is None else style))],
        recipe=pb.Recipe(evaluations=6) if recipe is None else recipe,
    )
    return pb.StylizeRequest(spec=spec, **fields)


def texture_request(width: int, height: int, recipe: pb.Recipe | None = None) -> pb.StylizeRequest:
    """A request to paint a texture in the style of a small picture."""
    request = stylize_request(recipe=recipe)
    request.spec.ClearField("content")
    request.spec.texture.CopyFrom(pb.TextureSize(width=width, height=height))
    return request
