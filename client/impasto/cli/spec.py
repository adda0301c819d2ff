"""The painting that a command asks for, and its errors about images that the server does not have."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impasto.cli.output import Input
from impasto.errors import FailedPrecondition, InvalidRequest, NotFound
from impasto.formats import StoredFormat
from impasto.recipe import Previews, Recipe, Region, Style, StyleName, UploadedImage

if TYPE_CHECKING:
    from impasto.recipe import ImageSource


@dataclasses.dataclass(frozen=True)
class Spec:
    """A painting to ask for; see `impasto.Client.stylize` for its parts."""

    content: ImageSource | None
    styles: Sequence[Style]
    recipe: Recipe
    start_image: ImageSource | None = None
    texture: tuple[int, int] | None = None
    regions: Sequence[Region] = ()
    selection: ImageSource | None = None
    title: str | None = None
    priority: int | None = None
    format: StoredFormat | None = None
    previews: Previews | None = None

    def files(self) -> list[Input]:
        """Returns the files to read, each with the option that names it."""
        images = [("", self.content), *(("", style.image) for style in self.styles)]
        images += [
            (f"--region {region.content_mask},style-mask=", region.style_mask)
            for region in self.regions
            if isinstance(region.content_mask, Path)
        ]
        return [*_files(images), *self.fitted_files()]

    def fitted_files(self) -> list[Input]:
        """Returns those of the files that are resized to the content."""
        images = [("--start ", self.start_image), ("--selection ", self.selection)]
        return _files([*images, *(("--region ", region.content_mask) for region in self.regions)])

    def keywords(self) -> dict[str, Any]:
        """Returns the keywords of `Client.stylize` and `Client.create_job`, except the previews."""
        return {
            "recipe": self.recipe,
            "start_image": self.start_image,
            "texture": self.texture,
            "regions": self.regions,
            "selection": self.selection,
            "title": self.title or "",
            "priority": self.priority or 0,
            "format": self.format,
        }

    def what(self) -> dict[str, Any]:
        """Returns the keywords of `Client.estimate`."""
        named = self.keywords()
        return {name: value for name, value in named.items() if name not in ("title", "priority")}

    @contextlib.contextmanager
    def missing_by_name(self) -> Iterator[None]:
        """Replaces the server's error about an image that it does not have by one in the user's words.

        Raises:
            InvalidRequest: instead of NotFound or FailedPrecondition.
        """
        try:
            yield
        except (NotFound, FailedPrecondition) as error:
            for image in self._images():
                if isinstance(image, StyleName) and _names(error.message, image.name):
                    raise InvalidRequest(
                        f"there is no style {image.name} on the server, and no such file; `impasto styles` "
                        "lists the server's styles",
                        code=error.code,
                    ) from None
                if isinstance(image, UploadedImage) and _names(error.message, image.sha256):
                    raise InvalidRequest(
                        f"there is no image sha256:{image.sha256} on the server; upload it with "
                        "`impasto upload FILE`",
                        code=error.code,
                    ) from None
            raise

    def _images(self) -> list[ImageSource | None]:
        images = [self.content, self.start_image, self.selection]
        images += [style.image for style in self.styles]
        images += [mask for region in self.regions for mask in (region.content_mask, region.style_mask)]
        return images


def _files(images: Sequence[tuple[str, ImageSource | None]]) -> list[Input]:
    return [(option, image) for option, image in images if isinstance(image, Path)]


def _names(message: str, name: str) -> bool:
    """Returns whether a message contains a name, and not only as a part of another name."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message) is not None
