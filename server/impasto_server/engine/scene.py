"""What a painting is made from: the photograph, the paintings, masks, and their tensors at each scale."""

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
    """A painting to learn the style from.

    Attributes:
        image: mode RGB.
        weight: its share beside the other styles', above 0.
        size: (width, height) in pixels of the painting as it was given, if `image` is a smaller or larger
            version of it; None if it is the painting itself.
    """

    image: Image.Image
    weight: float = 1.0
    size: tuple[int, int] | None = None

    def without_edges(self, share: float) -> Style:
        """The painting with a share of its width and height cut off at each edge."""
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
        content_mask: mode L, of any size; white inside, grey at soft edges.
        style: index of the painting.
        style_mask: where in the painting, mode L; None for all of it.
    """

    content_mask: Image.Image
    style: int = 0
    style_mask: Image.Image | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What a painting is made from.

    Attributes:
        content: the photograph; None for a texture.
        styles: at least one painting.
        texture: (width, height) in pixels of a texture, made from the styles alone.
        regions: parts of the content with styles of their own; empty for all styles everywhere.
        selection: what of the content to paint, mode L, white inside; None for all.
        start_image: what to start from; for a recipe whose `start` is "image" only.
    """

    content: Picture | None = None
    styles: Sequence[Style] = ()
    texture: tuple[int, int] | None = None
    regions: Sequence[Region] = ()
    selection: Image.Image | None = None
    start_image: Picture | None = None

    def resolved(self, recipe: Recipe, auto_precision: Literal["float32", "bfloat16"]) -> Recipe:
        """A recipe with every field set, as it is run on this scene.

        Args:
            recipe: to run.
            auto_precision: what precision "auto" means.

        Raises:
            RecipeError: the recipe and the scene do not go together, or the scene is not one.
        """
        if (self.content is None) == (self.texture is None):
            problem = "is missing; give a content or the size of a texture"
            raise RecipeError(
                "content", problem if self.content is None else "is given and a texture too; give one"
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
        """The scene with a share of the styles' width and height cut off at each edge, masks and all.

        Raises:
            RecipeError: nothing is left of a style's mask.
        """
        regions = []
        for index, region in enumerate(self.regions):
            mask = region.style_mask and pixels.without_edges(region.style_mask, share)
            if mask is not None and mask.getbbox() is None:
                raise RecipeError(
                    f"regions[{index}].style_mask",
                    f"is white only in the painting's outermost {share:.1%}, which are not looked at; paint "
                    "more of it white",
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
        """Memory of the pictures; of one that has several uses once."""
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

    def canvas(self, recipe: Recipe) -> Canvas:
        """What is painted on.

        Args:
            recipe: resolved.

        Raises:
            RecipeError: nothing is selected.
        """
        assert recipe.longest_side is not None
        if self.content is None:
            return texture_canvas(self.size)
        return content_canvas(self.content, recipe.longest_side, self.selection)

    def _check_images(self, recipe: Recipe) -> None:
        if not 1 <= len(self.styles) <= MAX_STYLES:
            raise RecipeError("styles", f"are {len(self.styles)}; give 1 to {MAX_STYLES}")
        for index, style in enumerate(self.styles):
            if not 0 < style.weight < math.inf:
                raise RecipeError(f"styles[{index}].weight", f"is {style.weight:g}; give a number above 0")
        if (recipe.start == "image") != (self.start_image is not None):
            raise RecipeError(
                "start_image",
                "is missing; the recipe's start is 'image'"
                if self.start_image is None
                else f"is given, but the recipe's start is {recipe.start!r}; make it 'image'",
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
                    raise RecipeError(field, "is an array, but not (H, W, 3) of uint16; give such a one")
            elif picture.mode != mode:
                raise RecipeError(field, f"has the mode {picture.mode}; convert it to {mode}")

    def _check_regions(self) -> None:
        if len(self.regions) > MAX_REGIONS:
            raise RecipeError("regions", f"are {len(self.regions)}; give at most {MAX_REGIONS}")
        if self.regions and self.content is None:
            raise RecipeError("regions", "are given, but a texture has no content; leave them out")
        for index, region in enumerate(self.regions):
            if not 0 <= region.style < len(self.styles):
                raise RecipeError(
                    f"regions[{index}].style",
                    f"is {region.style}; there are {len(self.styles)} styles, from 0",
                )
            for field, mask in (("content_mask", region.content_mask), ("style_mask", region.style_mask)):
                if mask is None:
                    continue
                where = f"regions[{index}].{field}"
                if mask.mode != "L":
                    raise RecipeError(where, f"has the mode {mask.mode}; convert it to L")
                if mask.getbbox() is None:
                    raise RecipeError(where, "is black everywhere; paint white what it is for")


class SceneTensors:
    """A scene as tensors: normalised images (1, 3, H, W) and masks (1, 1, H, W), without margin.

    Those of one scale are made once and kept until `enter` is called for the next.
    """

    def __init__(self, scene: Scene, canvas: Canvas, like: torch.Tensor) -> None:
        """
        Args:
            scene: what they are made from.
            canvas: what of it is painted.
            like: gives type and device.
        """
        self._scene = scene
        self._canvas = canvas
        self._like = like
        self._made: dict[tuple[object, ...], torch.Tensor] = {}

    def enter(self) -> None:
        """Lets go of what was made so far."""
        self._made.clear()

    def content(self, size: tuple[int, int], recipe: Recipe) -> torch.Tensor:
        """The content at (width, height), in the colours that are painted: grey where only lightness is."""
        content = self.photograph(size)
        if recipe.color != "luminance":
            return content
        return self._once(lambda: colors.luminance(content), "grey", size)

    def photograph(self, size: tuple[int, int]) -> torch.Tensor:
        """The content at (width, height), as it is."""
        content = self._canvas.content
        assert content is not None
        return self._once(lambda: pixels.to_tensor(content, size, like=self._like), "content", size)

    def styles(self, scale: Scale, recipe: Recipe) -> list[tuple[torch.Tensor, float]]:
        """The paintings at the size and in the colours that go with a scale, and their shares."""
        weights = [style.weight for style in self._scene.styles]
        return [(self._style(index, scale, recipe), weight) for index, weight in enumerate(weights)]

    def parts(self, scale: Scale, recipe: Recipe) -> list[Part]:
        """The parts of the content and what they are to look like; their masks have the scale's margin."""
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
        """The image that the painting starts from, at (width, height)."""
        if recipe.start == "noise":
            return pixels.noise(size, recipe.seed, like=self._like)
        if self._scene.start_image is not None:
            return pixels.to_tensor(self._canvas.cut(self._scene.start_image), size, like=self._like)
        return self.content(size, recipe)

    def with_palette(self, image: torch.Tensor, scale: Scale, recipe: Recipe) -> torch.Tensor:
        """An image of a scale's size with the styles' colours, in each region those of its style."""
        return self._recolored(image, scale, recipe, colors.match_palette)

    def toward_palette(self, image: torch.Tensor, scale: Scale, recipe: Recipe, share: float) -> torch.Tensor:
        """The image with its colours a share nearer to the styles'; cheap enough for every preview."""
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
        """Colours of these styles, in proportion to their shares."""

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
            # What cannot be shown would be clipped in the painting.
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
        """A tensor, made if it is not there."""
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]
