"""An order from what is open in Krita and what the docker's widgets say. For the main thread only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from impasto.hosts import Area, Choices, Order, Size, StyleItem, StyleShare, plan
from impasto.hosts.translate import _
from impasto_krita import canvas, nodes, pixels

Offer = tuple[str, str, str]
"""A value, its word and its meaning."""


def contents() -> list[Offer]:
    """Returns what can be painted."""
    return [
        ("visible", _("Visible picture"), _("All visible layers, without the paintings that Impasto added")),
        ("layer", _("Active layer"), _("Only the layer or group that is chosen in the Layers docker")),
        ("everything", _("With paintings"), _("All visible layers, with the paintings that Impasto added")),
        (
            "texture",
            _("Texture"),
            _("A texture from the style alone, which fills the picture or the selection"),
        ),
    ]


def results() -> list[Offer]:
    """Returns where a result can go."""
    return [
        ("above", _("New layer"), _("A new layer above what is painted")),
        ("group", _("In the group"), _("A new layer on top of the active group, or of the active layer's")),
        ("document", _("New document"), _("A document of its own")),
    ]


def size_of(box: canvas.Box, choices: Choices, most: int | None) -> Size:
    """Returns the size at which a box is painted. Raises ValueError as `plan` does."""
    return plan(box[2], box[3], choices.size, most=most)


def order(
    document: Any,
    active: Any,
    *,
    content: str,
    result: str,
    choices: Choices,
    styles: Sequence[StyleShare],
    areas: Sequence[tuple[Any, StyleItem]] = (),
    most: int | None,
    key: str,
) -> Order:
    """Returns the order for a document.

    Args:
        active: the active node.
        content: a value of `contents`.
        result: a value of `results`.
        areas: nodes, each with the style that its shape takes.
        most: the server's longest side; None if unknown.
        key: the document's key in the history.

    Raises:
        ValueError: it cannot be painted; the message is a sentence for people.
    """
    if not styles:
        raise ValueError(_("No style is chosen. Choose a style first."))
    texture = content == "texture"
    source = canvas.source_of(document, active, "visible" if texture else content)
    if result == "group" and source.above is None:
        source = canvas.Source(source.layer, nodes.layer_of(active), source.all)
    canvas.check_shown(source.layer)
    region = canvas.region(document, source.layer)
    size = size_of(region.box, choices, most)
    bits = canvas.bits_of(document)
    pictures: Callable[[], Any] | None = None
    if not texture:
        image = canvas.read(document, region.box, source, bits=bits)
        canvas.check_opaque(image, region)

        def pictures() -> Any:
            return pixels.raw_pixels(image, size.painted_width, size.painted_height, bits)

    shares = list(styles)
    made = [] if texture else [_area(document, node, style, region, size, shares) for node, style in areas]
    return Order(
        styles=tuple(shares),
        size=size,
        choices=choices,
        place=canvas.place_of(document, region, source, key=key, bits=bits, result=result),
        content=pictures,
        areas=tuple(made),
        bits=bits,
        subject=canvas.name_of(document),
        document=key,
        source=f"{content} {source.id} {region.key}",
    )


def _area(
    document: Any,
    node: Any,
    style: StyleItem,
    region: canvas.Region,
    size: Size,
    shares: list[StyleShare],
) -> Area:
    width, height = region.box[2:]
    shape = canvas.shape_of(document, node, region.box)
    index = next((at for at, share in enumerate(shares) if share.style.key == style.key), len(shares))
    if index == len(shares):
        shares.append(StyleShare(style))
    return Area(
        mask=lambda: pixels.resized_mask(shape, width, height, size.painted_width, size.painted_height),
        style=index,
        name=str(node.name()),
    )
