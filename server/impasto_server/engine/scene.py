"""The material of a painting: the photograph, the styles, the masks, and their tensors at each scale."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image

from impasto_server.engine import colors, pixels
from impasto_server.engine.canvas import Canvas, content_canvas, texture_canvas
from impasto_server.engine.forecast import Sizes
from impasto_server.engine.objectives.objective import Part
from impasto_server.engine.pixels import Picture
from impasto_server.engine.recipe import (
    MAX_LONGEST_SIDE,
    MAX_REGIONS,
    MAX_STYLES,
    MIN_SIDE,
    Recipe,
    RecipeError,
    style_size,
)
from impasto_server.engine.scales import Scale
from impasto_server.engine.targets import StyleImage


@dataclasses.dataclass(frozen=True)
class Style:
    """A painting that gives the style.

    Attributes:
        image: the painting, mode RGB.
        weight: weight relative to the other styles, above 0.
        size: (width, height) in pixels of the original painting, if `image` is a resized version of it;
            None if `image` is the original.
    """

    image: Image.Image
    weight: float = 1.0
    size: tuple[int, int] | None = None

    def without_edges(self, share: float) -> Style:
        """Returns the painting with a share of its width and height cut off at each edge."""
        image = pixels.without_edges(self.image, share)
        if self.size is None:
            return dataclasses.replace(self, image=image)
        width, height = self.size
        across, down = image.width / self.image.width, image.height / self.image.height
        return dataclasses.replace(self, image=image, size=(round(width * across), round(height * down)))


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the content that takes its style from one painting, or from a part of it.

    Attributes:
        content_mask: mode L, of any size. White marks the region, grey its soft edges.
        style: index of the painting in `Scene.styles`.
        style_mask: mode L, of any size. White marks the part of the painting; None for all of it.
    """

    content_mask: Image.Image
    style: int = 0
    style_mask: Image.Image | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """The pictures from which a painting is made.

    Attributes:
        content: the photograph; None for a texture.
        styles: at least one painting.
        texture: (width, height) in pixels of a texture, which is made from the styles alone.
        regions: parts of the content with their own styles; empty to use all styles everywhere.
        selection: mode L. White marks the area of the content to paint; None for all of it.
        start_image: picture to start from, if the recipe's `start` is "image"; otherwise None.
    """

    content: Picture | None = None
    styles: Sequence[Style] = ()
    texture: tuple[int, int] | None = None
    regions: Sequence[Region] = ()
    selection: Image.Image | None = None
    start_image: Picture | None = None

    def resolved(self, recipe: Recipe, auto_precision: Literal["float32", "bfloat16"]) -> Recipe:
        """Returns a recipe with every field set, as it is run on this scene.

        Args:
            recipe: the recipe to run.
            auto_precision: the meaning of precision "auto".

        Raises:
            RecipeError: the recipe does not suit the scene, or the scene is incomplete or contradictory.
        """
        if (self.content is None) == (self.texture is None):
            problem = "is missing; give a content or the size of a texture"
            raise RecipeError(
                "content", problem if self.content is None else "cannot be combined with a texture; give one"
            )
        if self.texture is not None:
            for side, length in zip(("width", "height"), self.texture, strict=True):
                if not MIN_SIDE <= length <= MAX_LONGEST_SIDE:
                    problem = f"is {length} px; give {MIN_SIDE} to {MAX_LONGEST_SIDE}"
                    raise RecipeError(f"texture.{side}", problem)
        recipe = recipe.resolve(*self.size, texture=self.content is None)
        if recipe.precision == "auto":
            recipe = dataclasses.replace(recipe, precision=auto_precision)
        self._check_images(recipe)
        self._check_regions()
        return recipe

    def without_style_edges(self, share: float) -> Scene:
        """Returns the scene with a share of the width and height cut off each style, and each style's mask.

        The share is cut off at every edge.

        Raises:
            RecipeError: a style's mask has no white left.
        """
        regions = []
        for index, region in enumerate(self.regions):
            mask = region.style_mask and pixels.without_edges(region.style_mask, share)
            if mask is not None and mask.getbbox() is None:
                raise RecipeError(
                    f"regions[{index}].style_mask",
                    f"is white only in the outermost {share:.1%} of the painting, which are not used; mark a "
                    "larger area",
                )
            regions.append(dataclasses.replace(region, style_mask=mask))
        styles = [style.without_edges(share) for style in self.styles]
        return dataclasses.replace(self, styles=styles, regions=regions)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the content, or of the texture."""
        if self.content is not None:
            return pixels.picture_size(self.content)
        assert self.texture is not None
        return self.texture

    @property
    def held_bytes(self) -> int:
        """Memory of the pictures in bytes; a picture with several uses counts once."""
        masks = [mask for region in self.regions for mask in (region.content_mask, region.style_mask)]
        images = [style.image for style in self.styles]
        kept = [self.content, self.start_image, self.selection, *images, *masks]
        total = 0
        for picture in {id(each): each for each in kept if each is not None}.values():
            width, height = pixels.picture_size(picture)
            if isinstance(picture, np.ndarray):
                total += picture.nbytes
            else:
                total += width * height * len(picture.getbands())
        return total

    def sizes(self, canvas: Canvas) -> Sizes:
        """Returns the sizes on which the time of the painting depends.

        Args:
            canvas: the part of the scene that is painted.
        """
        sizes = [style.size or style.image.size for style in self.styles]
        if self.regions:
            sizes = [sizes[region.style] for region in self.regions]
        return Sizes(canvas.size, canvas.full_size, sizes)

    def canvas(self, recipe: Recipe) -> Canvas:
        """Returns the canvas to paint on.

        Args:
            recipe: resolved recipe.

        Raises:
            RecipeError: the selection is black everywhere.
        """
        assert recipe.longest_side is not None
        if self.content is None:
            return texture_canvas(self.size)
        return content_canvas(self.content, recipe.longest_side, self.selection)

    def _check_images(self, recipe: Recipe) -> None:
        if not 1 <= len(self.styles) <= MAX_STYLES:
            raise RecipeError("styles", f"has {len(self.styles)} entries; give 1 to {MAX_STYLES}")
        for index, style in enumerate(self.styles):
            if not 0 < style.weight < math.inf:
                raise RecipeError(f"styles[{index}].weight", f"is {style.weight:g}; give a number above 0")
        if (recipe.start == "image") != (self.start_image is not None):
            raise RecipeError(
                "start_image",
                "is missing, but the recipe's start is 'image'; give the image to start from"
                if self.start_image is None
                else f"is given, but the recipe's start is {recipe.start!r}; set the start to 'image'",
            )
        if self.selection is not None and self.content is None:
            raise RecipeError("selection", "is given, but a texture has no content; leave it out")
        pictures: dict[str, tuple[Picture, str]] = {
            f"styles[{index}].image": (style.image, "RGB") for index, style in enumerate(self.styles)
        }
        for field, picture, mode in (
            ("content", self.content, "RGB"),
            ("start_image", self.start_image, "RGB"),
            ("selection", self.selection, "L"),
        ):
            if picture is not None:
                pictures[field] = (picture, mode)
        for field, (picture, mode) in pictures.items():
            if isinstance(picture, np.ndarray):
                if picture.dtype != np.uint16 or picture.ndim != 3 or picture.shape[2] != 3:
                    raise RecipeError(field, "has a wrong shape or type; give a uint16 array (H, W, 3)")
            elif picture.mode != mode:
                raise RecipeError(field, f"has the mode {picture.mode}; convert it to {mode}")

    def _check_regions(self) -> None:
        if len(self.regions) > MAX_REGIONS:
            raise RecipeError("regions", f"has {len(self.regions)} entries; give at most {MAX_REGIONS}")
        if self.regions and self.content is None:
            raise RecipeError("regions", "are given, but a texture has no content; leave them out")
        for index, region in enumerate(self.regions):
            if not 0 <= region.style < len(self.styles):
                raise RecipeError(
                    f"regions[{index}].style",
                    f"is {region.style}; give the index of a style, 0 to {len(self.styles) - 1}",
                )
            for field, mask in (("content_mask", region.content_mask), ("style_mask", region.style_mask)):
                if mask is None:
                    continue
                where = f"regions[{index}].{field}"
                if mask.mode != "L":
                    raise RecipeError(where, f"has the mode {mask.mode}; convert it to L")
                if mask.getbbox() is None:
                    raise RecipeError(where, "is black everywhere; mark an area in white")


class SceneTensors:
    """The tensors of a scene: normalised images (1, 3, H, W) and masks (1, 1, H, W), without margin.

    The tensors of a scale are made once and kept until `enter` is called for the next scale.
    """

    def __init__(self, scene: Scene, canvas: Canvas, like: torch.Tensor) -> None:
        """
        Args:
            scene: the scene.
            canvas: the part of it that is painted.
            like: a tensor of the type and on the device to use.
        """
        self._scene = scene
        self._canvas = canvas
        self._like = like
        self._made: dict[tuple[object, ...], torch.Tensor] = {}

    def enter(self) -> None:
        """Frees the tensors of the scale before."""
        self._made.clear()

    def content(self, size: tuple[int, int], recipe: Recipe) -> torch.Tensor:
        """Returns the content at (width, height) as it is painted: in grey with the color "luminance"."""
        content = self.photograph(size)
        if recipe.color != "luminance":
            return content
        return self._once(lambda: colors.luminance(content), "grey", size)

    def photograph(self, size: tuple[int, int]) -> torch.Tensor:
        """Returns the content at (width, height) in its own colours."""
        content = self._canvas.content
        assert content is not None
        return self._once(lambda: pixels.to_tensor(content, size, like=self._like), "content", size)

    def styles(self, scale: Scale, recipe: Recipe) -> list[tuple[torch.Tensor, float]]:
        """Returns the styles, with their weights, at the size and in the colours for a scale."""
        weights = [style.weight for style in self._scene.styles]
        return [(self._style(index, scale, recipe), weight) for index, weight in enumerate(weights)]

    def parts(self, scale: Scale, recipe: Recipe) -> list[Part]:
        """Returns the parts of the content with their styles; masks and styles have the scale's margin."""
        margin = scale.margin
        styles = self.styles(scale, recipe)
        if not self._scene.regions:
            whole = [
                (StyleImage(pixels.with_margin(image, margin), None, margin), weight)
                for image, weight in styles
            ]
            return [Part(None, whole)]
        parts = []
        for index, region in enumerate(self._scene.regions):
            image, _ = styles[region.style]
            style_mask = None
            if region.style_mask is not None:
                height, width = image.shape[2:]
                style_mask = pixels.mask_tensor(region.style_mask, (width, height), like=self._like)
                style_mask = pixels.with_margin(style_mask, margin)
            mask = pixels.with_margin(self._region_mask(index, scale), margin)
            parts.append(
                Part(mask, [(StyleImage(pixels.with_margin(image, margin), style_mask, margin), 1.0)])
            )
        return parts

    def start(self, size: tuple[int, int], recipe: Recipe) -> torch.Tensor:
        """Returns the image that the painting starts from, at (width, height)."""
        if recipe.start == "noise":
            return pixels.noise(size, recipe.seed, like=self._like)
        if self._scene.start_image is not None:
            return pixels.to_tensor(self._canvas.cut(self._scene.start_image), size, like=self._like)
        return self.content(size, recipe)

    def with_palette(self, image: torch.Tensor, scale: Scale, recipe: Recipe) -> torch.Tensor:
        """Gives an image of a scale's size the colours of the styles; each region gets those of its style."""
        return self._recolored(image, scale, recipe, colors.match_palette)

    def toward_palette(self, image: torch.Tensor, scale: Scale, recipe: Recipe, share: float) -> torch.Tensor:
        """Moves an image's colours a share of the way to those of the styles; fast enough for previews."""
        return self._recolored(
            image, scale, recipe, lambda image, palette: colors.toward_moments(image, palette, share)
        )

    def _recolored(
        self,
        image: torch.Tensor,
        scale: Scale,
        recipe: Recipe,
        match: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        if not self._scene.regions:
            return match(image, self._palette(range(len(self._scene.styles)), scale, recipe))
        blended, covered = torch.zeros_like(image), torch.zeros_like(image[:, :1])
        for index, region in enumerate(self._scene.regions):
            mask = self._region_mask(index, scale)
            blended += mask * match(image, self._palette([region.style], scale, recipe))
            covered += mask
        return blended / covered.clamp_min(1) + image * (1 - covered).clamp_min(0)

    def _palette(self, indices: Sequence[int], scale: Scale, recipe: Recipe) -> torch.Tensor:
        """Returns colours of some styles, in proportion to their weights."""

        def made() -> torch.Tensor:
            styles = self.styles(scale, recipe)
            return colors.palette_of([styles[index] for index in indices])

        return self._once(made, "palette", *indices, scale.size, recipe.color)

    def _style(self, index: int, scale: Scale, recipe: Recipe) -> torch.Tensor:
        style = self._scene.styles[index]

        def made() -> torch.Tensor:
            image = pixels.to_tensor(style.image, self._style_size(style, scale, recipe), like=self._like)
            if recipe.color == "style":
                return image
            recolor = colors.matched_luminance if recipe.color == "luminance" else colors.match_moments
            # The painting cannot show colours out of range, so it should not learn them.
            return pixels.clipped(recolor(image, self.photograph(scale.size)))

        return self._once(made, "style", index, scale.size, recipe.color)

    def _style_size(self, style: Style, scale: Scale, recipe: Recipe) -> tuple[int, int]:
        if recipe.definition.style_as_content:
            return scale.size
        zoom = scale.width / self._canvas.size[0]
        size = style.size or style.image.size
        return style_size(size, self._canvas.full_size, recipe.style_scale, zoom=zoom)

    def _region_mask(self, index: int, scale: Scale) -> torch.Tensor:
        mask = self._scene.regions[index].content_mask
        return self._once(
            lambda: pixels.mask_tensor(self._canvas.cut(mask), scale.size, like=self._like),
            "region",
            index,
            scale.size,
        )

    def _once(self, make: Callable[[], torch.Tensor], *what: object) -> torch.Tensor:
        """Returns a tensor by its key; makes it if it is missing."""
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]
