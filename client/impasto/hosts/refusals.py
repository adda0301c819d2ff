"""Why a server refuses an order or a picture, in an artist's words.

The server names the field at fault by its path in the request ("spec.styles[0].image"). What is wrong with it
and what to do, it says in words for programmers that follow the field's name ("is empty; give the bytes of
…"). Here the path becomes what the artist calls it, and the words one sentence about what is wrong and one
about what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from impasto.hosts.told import TRY_AGAIN, Told, cut, ended
from impasto.hosts.translate import _

Clause = tuple[str, str]
"""What is wrong, and what to do, each as a whole sentence."""


def tell(
    fields: Sequence[tuple[str, str]],
    message: str = "",
    *,
    styles: Sequence[str] = (),
    areas: Sequence[str] = (),
) -> Told:
    """Return what an artist is told about an invalid request.

    Args:
        fields: `ImpastoError.fields`; only the first is told.
        message: `ImpastoError.message`, for a request without fields.
        styles, areas: titles of the order's styles and names of its areas.
    """
    if not fields:
        return Told(_("The server refuses this."), _("The server says: {said}").format(said=ended(message)))
    path, remedy = fields[0]
    if path == "request" and remedy.startswith(("has ", "is too large")):
        return Told(
            _("The pictures are too large to send."), _("Choose a smaller size, or fewer areas."), TRY_AGAIN
        )
    what = subject(path, styles=styles, areas=areas)
    clause = explained(remedy)
    if what and clause is not None:
        # Translators: What has a fault ("Style “Mine”"), and the fault as a whole sentence.
        return Told(_("{what}: {fault}").format(what=what, fault=clause[0]), clause[1])
    if what:
        return Told(
            _("The server cannot use this: {what}.").format(what=what),
            _("The server says: {said}").format(said=ended(f"it {remedy}")),
        )
    return Told(
        _("The server does not understand the plugin."),
        _("They may be of different versions. Update the older one."),
    )


def too_large(message: str) -> Told:
    """Return what an artist is told when the device's memory is too small for a job.

    Args:
        message: the server's message, which has the memory that is needed and that there is.
    """
    sizes = re.findall(r"([\d,.]+) MiB", message)
    if len(sizes) < 2:
        return Told(_("The size is too large for the server."), _("Choose a smaller size."), TRY_AGAIN)
    return Told(
        _("The size is too large for the server."),
        _("{needed} MiB of memory are needed, and its device has {there} MiB. Choose a smaller size.").format(
            needed=sizes[0], there=sizes[1]
        ),
        TRY_AGAIN,
    )


# What has the fault.


def subject(path: str, *, styles: Sequence[str] = (), areas: Sequence[str] = ()) -> str:
    """Return what an artist calls a field of the request; empty if an artist knows nothing of it.

    Args:
        path: the field's path: "spec.styles[0].image".
        styles, areas: titles of the order's styles and names of its areas.
    """
    path = re.sub(r"^(job|spec)\.", "", path)
    if path in ("data", "sha256", "size_bytes", "image"):
        # An upload: only styles are uploaded by themselves.
        return _("Style")
    if found := re.match(r"styles\[(\d+)\](\.weight)?", path):
        title = _of(styles, int(found[1]))
        if found[2]:
            return _("Share of style {style}").format(style=title)
        # Translators: The style's title in quotation marks, or its number.
        return _("Style {style}").format(style=title)
    if found := re.match(r"regions\[(\d+)\]", path):
        # Translators: The area's name in quotation marks, or its number.
        return _("Area {area}").format(area=_of(areas, int(found[1])))
    top, _dot, field = path.partition(".")
    known = {
        "content": _("Content"),
        "start_image": _("Content"),
        "styles": _("Styles"),
        "regions": _("Areas"),
        "selection": _("Selection"),
        "texture": _("Size"),
        "title": _("Name of the document"),
    }
    return _recipe_field(field) if top == "recipe" else known.get(top, "")


def _recipe_field(field: str) -> str:
    known = {
        "content_weight": _("Strength"),
        "style_weight": _("Strength"),
        "effort": _("Effort"),
        "evaluations": _("Evaluations"),
        "color": _("Colours"),
        "longest_side": _("Size"),
        "size": _("Size"),
        "style_scale": _("Stroke size"),
        "seed": _("Seed"),
    }
    return known.get(field, "")


def _of(names: Sequence[str], index: int) -> str:
    # Translators: A name in quotation marks.
    return _("“{name}”").format(name=cut(names[index])) if index < len(names) else str(index + 1)


# What is wrong with it.


def explained(remedy: str) -> Clause | None:
    """Return what is wrong with a field and what to do, in an artist's words; None for unknown words.

    Args:
        remedy: the server's words, which follow the field's name.
    """
    for pattern, clause in _CLAUSES:
        if found := re.match(pattern, remedy):
            return clause(found)
    return None


def _save_again() -> str:
    return _("Save it again as a PNG or JPEG, and add it again.")


def _damaged(_found: re.Match[str]) -> Clause:
    return _("The file is damaged or incomplete."), _save_again()


def _other_kind(found: re.Match[str]) -> Clause:
    name = _("camera raw") if found["name"].startswith("camera raw") else found["name"]
    return (
        _("The server cannot read {format} files.").format(format=name),
        _("Export it as PNG, TIFF or JPEG, and add it again."),
    )


def _no_picture(_found: re.Match[str]) -> Clause:
    return (
        _("The file is not a PNG, JPEG, WebP or TIFF."),
        _("Export it as one of these, and add it again."),
    )


def _empty(_found: re.Match[str]) -> Clause:
    return _("The file is empty."), _("Choose another file.")


def _without_pixels(_found: re.Match[str]) -> Clause:
    return _("The picture has no pixels."), _("Choose one with at least 1 × 1 pixels.")


def _too_many_pixels(found: re.Match[str]) -> Clause:
    most = int(found["most"].replace(",", "")) // 1_000_000
    return (
        _("{width} × {height} pixels are too many.").format(width=found["width"], height=found["height"]),
        _("Make the picture smaller: the server takes at most {most} megapixels.").format(most=most),
    )


def _too_hard(_found: re.Match[str]) -> Clause:
    return _("The file takes too long to read."), _save_again()


def _unusual(found: re.Match[str]) -> Clause:
    return _("The server cannot read this kind of {format}.").format(format=found["format"]), _save_again()


def _unusual_depth(_found: re.Match[str]) -> Clause:
    return (
        _("The file's bits per channel are unusual."),
        _("Save it with 8 or 16 bits per channel, and add it again."),
    )


def _unusual_colours(_found: re.Match[str]) -> Clause:
    return _("The file's colour channels are unusual."), _("Save it as RGB or grey, and add it again.")


def _unusual_compression(_found: re.Match[str]) -> Clause:
    return (
        _("The file's compression is unusual."),
        _("Save it with LZW, Deflate or no compression, and add it again."),
    )


def _nothing_selected(_found: re.Match[str]) -> Clause:
    return _("Nothing is selected."), _("Select the part that is to be painted.")


def _too_narrow(found: re.Match[str]) -> Clause:
    wrong = _("{size} px are too few for so long a shape.").format(size=found["size"])
    if found["least"]:
        return wrong, _("Choose a size of at least {least} px.").format(least=found["least"])
    return wrong, _("Select a less narrow part.")


def _too_many(found: re.Match[str]) -> Clause:
    return (
        _("{count} are too many.").format(count=found["count"]),
        _("The server takes at most {most}.").format(most=found["most"]),
    )


def _none_given(_found: re.Match[str]) -> Clause:
    return _("There is none."), _("Choose at least one.")


def _out_of_range(found: re.Match[str]) -> Clause:
    return (
        _("The server does not accept {value}.").format(value=found["value"]),
        _("Choose {least} to {most}.").format(least=found["least"], most=found["most"]),
    )


def _too_small(found: re.Match[str]) -> Clause:
    return (
        _("The server does not accept {value}.").format(value=found["value"]),
        _("Choose at least {least}.").format(least=found["least"]),
    )


def _not_above_zero(found: re.Match[str]) -> Clause:
    return (
        _("The server does not accept {value}.").format(value=found["value"]),
        _("Choose more than 0."),
    )


def _unknown_word(found: re.Match[str]) -> Clause:
    return (
        _("The server does not know “{value}”.").format(value=found["value"]),
        _("Choose another one, or ask the server's administrator to update the server."),
    )


def _fixed(_found: re.Match[str]) -> Clause:
    return (
        _("This cannot change while the picture is painted."),
        _("Wait until it is finished, or cancel it."),
    )


def _texture(_found: re.Match[str]) -> Clause:
    return _("A texture does not take this."), _("Leave it out, or paint a picture instead.")


def _long_name(_found: re.Match[str]) -> Clause:
    return _("It is too long."), _("Give the document a shorter name.")


def _control_character(_found: re.Match[str]) -> Clause:
    return _("It has a character that cannot be shown."), _("Give the document another name.")


_NUMBER = r"-?\d(?:[\d.,e+]*\d)?"

_CLAUSES: tuple[tuple[str, Callable[[re.Match[str]], Clause]], ...] = (
    # Files. Texts about a whole format come before those about any file.
    (r"is truncated or damaged", _damaged),
    (r"is damaged", _damaged),
    (r"cannot be read as an image", _damaged),
    (r"does not match|do not match|have the SHA-256|has the SHA-256", _damaged),
    (r"is an? (?P<name>.+?) file, which is not supported", _other_kind),
    (r"is not a PNG, JPEG, WebP or TIFF file", _no_picture),
    (r"is empty; (give|send) the bytes", _empty),
    (r"is 0 bytes", _empty),
    (r"has no pixels", _without_pixels),
    (
        r"(is|has) (?P<width>\d+) × (?P<height>\d+) pixels; scale it (down )?to at most (?P<most>[\d,]+)",
        _too_many_pixels,
    ),
    (r"needs more memory or time to read", _too_hard),
    (r"is a TIFF compressed", _unusual_compression),
    (r"is a .*(bits per channel|bits per sample)", _unusual_depth),
    (r"is a .*save it as RGB", _unusual_colours),
    (r"is a (tiled |lossless or hierarchical )?(?P<format>PNG|JPEG|WebP|TIFF)\b", _unusual),
    # Selections, styles and areas.
    (r"is black everywhere", _nothing_selected),
    (r"has 0 styles|is empty; give at least one", _none_given),
    (r"has (?P<count>\d+) \w+; give (1 to|at most) (?P<most>\d+)", _too_many),
    # Settings.
    (r"of (?P<size>\d+) px leaves less than .*?(give at least (?P<least>\d+)|crop the image)", _too_narrow),
    (rf"is (?P<value>{_NUMBER})( \S+)?; give (?P<least>{_NUMBER}) to (?P<most>{_NUMBER})", _out_of_range),
    (rf"is (?P<value>{_NUMBER})( \S+)?; give (?P<least>{_NUMBER}) or more", _too_small),
    (rf"is (?P<value>{_NUMBER})( \S+)?; give (a number above|more than) 0", _not_above_zero),
    (r"is '?(?P<value>[^;',]+)'?(, an unknown value)?; give one of", _unknown_word),
    (r"cannot change while", _fixed),
    (r".*a texture (has no content|does not have)|.*a texture has no other", _texture),
    (r"has \d+ characters; give at most", _long_name),
    (r"contains the control character", _control_character),
)
