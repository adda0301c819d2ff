"""An order: what a host wants to have painted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from impasto.hosts.choices import Choices
from impasto.hosts.settings import check_choices
from impasto.hosts.shares import LEAST_SHARE, MOST_SHARE, StyleShare
from impasto.hosts.sizes import SMALLEST_SIDE, Size
from impasto.hosts.told import ToldError, cut
from impasto.hosts.translate import _

if TYPE_CHECKING:
    from impasto.job import Limits
    from impasto.recipe import RawPixels

__all__ = ["Area", "Order", "StyleShare"]


@dataclasses.dataclass(frozen=True)
class Area:
    """A part of the content that takes a style of its own.

    Where areas overlap, the first one has the place. What no area covers takes the styles that no area has,
    by their shares; if every style has an area, the first style.

    Attributes:
        mask: returns one byte for each painted pixel, in rows from the top: 255 inside, 0 outside, others for
            a soft edge. It is called on a worker thread. May raise ValueError with a sentence for people.
        style: index into `Order.styles`.
        name: the name of its layer, for people.
    """

    mask: Callable[[], bytes]
    style: int
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Order:
    """What to paint, and how.

    Attributes:
        styles: styles of the library; at least one.
        size: the size, from `sizes.plan`.
        choices: how to paint.
        place: the host's notes about where the picture goes, as JSON values. They come back with the result,
            even if the host was restarted.
        content: returns the pixels at the painted size, with 8 or 16 bits per channel. It is called on a
            worker thread, so that the host can scale them there. May raise ValueError with a sentence for
            people. None makes a texture of the painted size from the styles.
        areas: parts of the content with styles of their own.
        bits: bits per channel of the result, 8 or 16.
        subject: what is painted, for people: the document's name.
        document: key of the document in the history: its path, or an identifier.
        source: key of what is painted in the document: a layer's identifier, a selection's box. With the
            document it tells whether an order is a second go (`Controller.fresh_seed`).
    """

    styles: tuple[StyleShare, ...]
    size: Size
    choices: Choices
    place: dict[str, Any]
    content: Callable[[], RawPixels] | None
    areas: tuple[Area, ...] = ()
    bits: int = 8
    subject: str = ""
    document: str = ""
    source: str = ""

    @property
    def is_texture(self) -> bool:
        """Whether a texture is made, without a content."""
        return self.content is None


def check_order(order: Order, limits: Limits | None) -> None:
    """Check an order, as far as that is possible without its pixels.

    Args:
        limits: the server's limits; None if unknown.

    Raises:
        ToldError: it cannot be painted.
    """
    check_choices(order.choices)
    if not order.styles:
        raise ToldError(_("No style is chosen."), _("Choose a style first."))
    for share in order.styles:
        if not LEAST_SHARE <= share.share <= MOST_SHARE:
            raise ToldError(
                _("The share of “{style}” cannot be {share}.").format(
                    style=cut(share.style.title), share=share.share
                ),
                _("Enter a whole number from {least} to {most}.").format(least=LEAST_SHARE, most=MOST_SHARE),
            )
    if order.bits not in (8, 16):
        raise ToldError(
            _("The result cannot have {bits} bits per channel.").format(bits=order.bits),
            _("Choose 8 or 16."),
        )
    for area in order.areas:
        if not 0 <= area.style < len(order.styles):
            raise ToldError(
                _("The area “{area}” has no style.").format(area=cut(area.name)),
                _("Choose a style for it, or remove the area."),
            )
    if order.is_texture:
        _check_texture(order)
    if limits is not None:
        _check_limits(order, limits)


def _check_texture(order: Order) -> None:
    if order.areas:
        raise ToldError(_("A texture has no areas."), _("It is made without a picture. Remove the areas."))
    width, height = order.size.painted_width, order.size.painted_height
    if min(width, height) < SMALLEST_SIDE:
        raise ToldError(
            _("{width} × {height} pixels are too few for a texture.").format(width=width, height=height),
            _("Select a larger part, with at least {least} pixels on each side.").format(least=SMALLEST_SIDE),
        )


def _check_limits(order: Order, limits: Limits) -> None:
    if len(order.styles) > limits.max_styles > 0:
        raise ToldError(
            _("The server takes fewer styles."),
            _("Choose at most {most}.").format(most=limits.max_styles),
        )
    # What no area covers needs at least one more.
    free = len(order.styles) - len({area.style for area in order.areas})
    most_areas = max(1, limits.max_regions - max(1, free))
    if len(order.areas) > most_areas and limits.max_regions > 0:
        raise ToldError(
            _("The server takes fewer areas."), _("Choose at most {most}.").format(most=most_areas)
        )
    if order.choices.evaluations > limits.max_evaluations > 0:
        raise ToldError(
            _("The server makes fewer evaluations."),
            _("Enter at most {most}.").format(most=limits.max_evaluations),
        )
    if order.size.longest_side > limits.max_longest_side > 0:
        raise ToldError(
            _("The server paints smaller sizes only."),
            _("Enter a size of at most {most} px.").format(most=limits.max_longest_side),
        )
