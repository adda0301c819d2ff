"""`impasto again`: paints a picture once more, by the record of how it was made."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from impasto import png, tiff
from impasto.cli.options import Run
from impasto.cli.output import Output
from impasto.cli.running import info_once_ready, paint
from impasto.cli.spec import Spec
from impasto.cli.values import RegionOption
from impasto.cli.words import counted
from impasto.errors import FailedPrecondition, ImpastoError, InvalidRequest
from impasto.files import read_whole
from impasto.formats import LOSSY, FileFormat, stored
from impasto.job import decode
from impasto.provenance import PNG_SIGNATURE, Provenance, read
from impasto.recipe import FIELDS, Region, Style

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.cli.terminal import Display
    from impasto.client import Client

PATIENCE = 60.0
"""Seconds to wait until the server has loaded its feature network and can name it."""


@dataclasses.dataclass(frozen=True)
class Given:
    """The files that the user gave as those from which a picture was painted.

    Attributes:
        images: the content, if it is no texture, and the styles.
        start: the picture that the painting started from, if it is given.
        regions: the masks of the regions.
        selection: the mask of the selection, if it is given.
    """

    images: Sequence[Path]
    start: Path | None
    regions: Sequence[RegionOption]
    selection: Path | None


def paint_again(
    result: Path,
    given: Given,
    output: Output,
    run: Run,
    display: Display,
    names: dict[str, str],
    *,
    format: FileFormat | None,
    anyway: bool,
    strict: bool,
) -> None:
    """Paints the picture `result` again and says whether the new picture is the same.

    Args:
        names: gets the user's names for fields of the request.
        format: format of the new picture; None for the one of its name's ending, with as many bits per
            channel as `result`.
        anyway: whether to paint although files differ from those of `result`.
        strict: whether to refuse a server that differs from the one that painted `result`, and to fail if the
            new picture differs.

    Raises:
        InvalidRequest: `result` has no record of how it was made, or the files are not those of the record.
        FailedPrecondition: `strict`, and the server differs.
        ImpastoError: the painting failed, or `strict` and the new picture differs.
    """
    data = read_whole(result)
    try:
        provenance = read(data)
        before = _decoded(data)
    except ValueError as error:
        raise InvalidRequest(f"{result} {error}") from None
    names |= {f"spec.recipe.{field.wire_name}": f"{result}: its {field.name}" for field in FIELDS.values()}
    names |= {f"spec.{part}": f"{result}: its {part}" for part in ("texture", "styles", "regions")}

    spec, mismatches = _spec(result, provenance, given, names)
    if format is None:
        bits = png.depth(data) or tiff.depth(data) or provenance.bits_per_channel
        spec = dataclasses.replace(spec, format="png16" if bits == 16 else None)
    else:
        spec = dataclasses.replace(spec, format=stored(format))
    if mismatches and not anyway:
        raise InvalidRequest(
            f"{'; '.join(mismatches)}; give the right files, or --anyway to paint with these"
        )
    for mismatch in mismatches:
        display.warning(mismatch)

    def look_at(client: Client) -> None:
        differences = "; ".join(provenance.differences(info_once_ready(client, run.timeout or PATIENCE)))
        if differences and strict:
            raise FailedPrecondition(
                f"the new picture may differ from {result}: {differences}; leave out --strict to paint anyway"
            )
        if differences:
            display.warning(f"the new picture may differ from {result}: {differences}")

    if provenance.weights == "builtin" and run.server is None and run.weights is None:
        run = dataclasses.replace(run, weights="builtin")
    if before is None and strict:
        display.warning(f"the new picture is not compared: the pixels of {result} cannot be read")
    picture = paint(spec, output, run, display, look_at=look_at)
    if before is not None and (now := _decoded(picture.data)) is not None:
        difference = _largest_difference(before, now)
        lossy = output.format if output.format in LOSSY else None
        display.compared(str(output.picture), str(result), difference, lossy)
        if difference != 0:
            with contextlib.suppress(ValueError):  # The new picture may have no record.
                for change in provenance.changes(read(picture.data)):
                    display.note(change)
        if strict and difference != 0:
            what = f"the painting in {output.picture}" if lossy else str(output.picture)
            raise ImpastoError(f"{what} is not identical to {result}")


def _spec(
    result: Path, provenance: Provenance, given: Given, names: dict[str, str]
) -> tuple[Spec, list[str]]:
    """Returns what to paint, and a clause for each file that differs from the record.

    Raises:
        InvalidRequest: there are more or fewer files than in the record.
    """
    _check_parts(result, provenance, given)
    mismatches = []

    def loaded(file: Path, part: str, recorded: str, field: str) -> bytes:
        names[field] = str(file)
        data = read_whole(file)
        digest = hashlib.sha256(data).hexdigest()
        if digest != recorded:
            mismatches.append(
                f"{file} is not the {part} from which {result} was painted: its SHA-256 is {digest}, but "
                f"{recorded} is recorded"
            )
        return data

    def loaded_if_any(file: Path | None, part: str, recorded: str | None, field: str) -> bytes | None:
        return loaded(file, part, recorded, field) if file is not None and recorded is not None else None

    content, styles = None, list(given.images)
    if provenance.content_sha256 is not None:
        content = loaded(styles.pop(0), "content", provenance.content_sha256, "spec.content")
    spec = Spec(
        content,
        [
            Style(loaded(file, "style", style.sha256, f"spec.styles[{i}]"), style.weight)
            for i, (file, style) in enumerate(zip(styles, provenance.styles, strict=True))
        ],
        provenance.recipe,
        start_image=loaded_if_any(
            given.start, "start image", provenance.start_image_sha256, "spec.start_image"
        ),
        texture=provenance.texture,
        regions=[
            Region(
                loaded(
                    masks.mask, "region's mask", region.content_mask_sha256, f"spec.regions[{i}].content_mask"
                ),
                region.style,
                loaded_if_any(
                    masks.style_mask,
                    "region's style mask",
                    region.style_mask_sha256,
                    f"spec.regions[{i}].style_mask",
                ),
            )
            for i, (masks, region) in enumerate(zip(given.regions, provenance.regions, strict=True))
        ],
        selection=loaded_if_any(
            given.selection, "selection's mask", provenance.selection_sha256, "spec.selection"
        ),
    )
    return spec, mismatches


def _check_parts(result: Path, provenance: Provenance, given: Given) -> None:
    texture = provenance.content_sha256 is None
    styles = counted(len(provenance.styles), "style")
    needed = len(provenance.styles) + (not texture)
    if len(given.images) != needed:
        made_from = f"{styles} and no content" if texture else f"a content and {styles}"
        raise InvalidRequest(
            f"{result} was painted from {made_from}; give {counted(needed, 'file')}, not {len(given.images)}"
        )
    for option, part, file, digest in (
        ("--start", "a start image", given.start, provenance.start_image_sha256),
        ("--selection", "a selection", given.selection, provenance.selection_sha256),
    ):
        if digest is not None and file is None:
            raise InvalidRequest(
                f"{result} was painted with {part}; give its file with {option} (SHA-256 {digest})"
            )
        if digest is None and file is not None:
            raise InvalidRequest(f"{result} was painted without {part}; leave out {option}")
    if len(given.regions) != len(provenance.regions):
        raise InvalidRequest(
            f"{result} was painted with {counted(len(provenance.regions), 'region')}, but --region is given "
            f"{counted(len(given.regions), 'time')}; give it once for each region, in their order"
        )
    for number, (masks, region) in enumerate(zip(given.regions, provenance.regions, strict=True), 1):
        if masks.style not in (None, region.style + 1):
            raise InvalidRequest(
                f"--region {masks.mask}: region {number} of {result} has style {region.style + 1}, not "
                f"{masks.style}; leave out style="
            )
        if (masks.style_mask is None) != (region.style_mask_sha256 is None):
            without, remedy = ("", "give") if masks.style_mask is None else ("out", "leave out")
            raise InvalidRequest(
                f"--region {masks.mask}: region {number} of {result} was painted with{without} a style mask; "
                f"{remedy} style-mask="
            )


def _decoded(data: bytes) -> tuple[Image, Image] | None:
    """Decodes a picture to the higher and the lower bytes of its samples, see `png.halves`.

    Returns:
        The same picture twice for a TIFF with 8 bits. None for a sidecar, and for a TIFF with 16 bits, which
        Pillow would read as 8 bits.

    Raises:
        ValueError: the picture is damaged; the message is a clause that follows the file's name.
    """
    try:
        if tiff.depth(data) == 8:
            picture = decode(data)
            return picture, picture
        return png.halves(data) if data.startswith(PNG_SIGNATURE) else None
    except Exception as error:
        # Pillow's decoders raise nearly every kind of exception for damaged files.
        raise ValueError(f"is damaged: its pixels cannot be decoded ({error})") from None


def _largest_difference(one: tuple[Image, Image], other: tuple[Image, Image]) -> int | None:
    """Returns the largest difference of two pictures in grey levels (of 255); None if their sizes differ."""
    if one[0].size != other[0].size:
        return None
    high, low = (_difference_in_8_bits(*halves) for halves in zip(one, other, strict=True))
    # With 16 bits the lower bytes differ by less than a level.
    sixteen = one[0] is not one[1] or other[0] is not other[1]
    return high + 1 if sixteen and low else high


def _difference_in_8_bits(one: Image, other: Image) -> int:
    from PIL import ImageChops

    difference = ImageChops.difference(one.convert("RGBA"), other.convert("RGBA"))
    bands = cast("tuple[tuple[int, int], ...]", difference.getextrema())
    return max(highest for _, highest in bands)
