"""What a command is to paint, and what it says of an image that the server does not have."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from impasto.errors import FailedPrecondition, InvalidRequest, NotFound
from impasto.formats import StoredFormat
from impasto.recipe import Recipe, Region, Style, StyleName, UploadedImage

if TYPE_CHECKING:
    from impasto.recipe import ImageSource


@dataclasses.dataclass(frozen=True)
class Spec:
    """What to paint; see `impasto.Client.stylize`."""

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

    def files(self) -> list[Path]:
        """The files to paint from."""
        return [image for image in self._images() if isinstance(image, Path)]

    def keywords(self) -> dict[str, Any]:
        """What `Client.stylize` and `Client.create_job` call the parts."""
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

    @contextlib.contextmanager
    def missing_by_name(self) -> Iterator[None]:
        """Tells of an image that the server does not have in the words of the command line.

        Raises:
            InvalidRequest: in place of what the server says of it, NotFound or FailedPrecondition.
        """
        try:
            yield
        except (NotFound, FailedPrecondition) as error:
            for image in self._images():
                if isinstance(image, StyleName) and _names(error.message, image.name):
                    raise InvalidRequest(
                        f"there is no style {image.name}; `impasto styles` lists those that a server has, "
                        f"and for a file give ./{image.name}",
                        code=error.code,
                    ) from None
                if isinstance(image, UploadedImage) and _names(error.message, image.sha256):
                    raise InvalidRequest(
                        f"there is no image sha256:{image.sha256} on the server; send it with "
                        "`impasto upload FILE`",
                        code=error.code,
                    ) from None
            raise

    def _images(self) -> list[ImageSource | None]:
        images = [self.content, self.start_image, self.selection]
        images += [style.image for style in self.styles]
        images += [mask for region in self.regions for mask in (region.content_mask, region.style_mask)]
        return images


def _names(message: str, name: str) -> bool:
    """Whether a message has a name in it that is not only a part of another."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message) is not None
