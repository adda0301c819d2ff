from __future__ import annotations

import io
import math

import PIL.Image
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError
from impasto_server.contract.images import images_of
from impasto_server.contract.pictures import PictureFault
from impasto_server.engine.recipe import DEFAULT_OBJECTIVE, evaluations_of
from impasto_server.gateway.checks import CheckedRequest, check_request
from support.samples import coded, mask, photo, stylize_request, texture_request


def checked(request: pb.StylizeRequest) -> CheckedRequest:
    """The checked request, with its images described as the intake would do it."""
    found: dict[str, tuple[int, int] | PictureFault] = {}
    for path, image in images_of(request.spec):
        try:
            found[path] = PIL.Image.open(io.BytesIO(image.encoded)).size
        except PIL.UnidentifiedImageError:
            found[path] = PictureFault("is not a picture; give another file")
    return check_request(request, found)


def faults(request: pb.StylizeRequest) -> dict[str, str]:
    """The fields for which a request is refused, with the message of each."""
    with pytest.raises(CallError) as caught:
        checked(request)
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in caught.value.status.details)
    return {violation.field: violation.description for violation in bad_request.field_violations}


def test_a_valid_request_gives_recipe_and_size() -> None:
    good = checked(stylize_request(coded(photo(64, 48)), recipe=pb.Recipe(longest_side=32)))
    assert (good.width, good.height) == (32, 24)
    assert good.recipe.longest_side == 32
    assert good.recipe.evaluations == evaluations_of(DEFAULT_OBJECTIVE, "standard")


def test_all_faults_of_a_request_are_reported_together() -> None:
    request = stylize_request(b"no image", style=b"neither", recipe=pb.Recipe(tv_weight=-1, optimizer=9))
    request.spec.styles[0].weight = -2
    request.preview.max_bytes = 1
    found = faults(request)
    assert set(found) == {
        "spec.content",
        "spec.styles[0].image",
        "spec.styles[0].weight",
        "spec.recipe.tv_weight",
        "spec.recipe.optimizer",
        "preview.max_bytes",
    }
    assert all(len(remedy) > 10 for remedy in found.values())


def test_an_empty_request_is_refused_for_content_and_styles() -> None:
    assert set(faults(pb.StylizeRequest())) == {"spec.content", "spec.styles"}


def test_too_many_styles_are_refused() -> None:
    request = stylize_request()
    request.spec.styles.extend(pb.Style(image=request.spec.styles[0].image) for _ in range(16))
    assert set(faults(request)) == {"spec.styles"}


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_a_styles_weight_must_be_positive(weight: float) -> None:
    request = stylize_request()
    request.spec.styles[0].weight = weight
    assert set(faults(request)) == {"spec.styles[0].weight"}


@pytest.mark.parametrize("side", [0, 15, 8193, 100_000])
def test_sides_out_of_range_are_refused(side: int) -> None:
    assert set(faults(stylize_request(recipe=pb.Recipe(longest_side=side)))) == {"spec.recipe.longest_side"}


def test_a_result_too_narrow_to_see_is_refused() -> None:
    request = stylize_request(coded(photo(400, 8)), recipe=pb.Recipe(longest_side=400))
    assert "give at least 800" in faults(request)["spec.recipe.longest_side"]


def test_a_start_image_needs_a_recipe_that_starts_from_it() -> None:
    assert set(faults(stylize_request(recipe=pb.Recipe(start=pb.START_IMAGE)))) == {"spec.start_image"}
    request = stylize_request()
    request.spec.start_image.encoded = coded(photo())
    assert set(faults(request)) == {"spec.start_image"}
    request.spec.recipe.start = pb.START_IMAGE
    checked(request)


def test_a_texture_gives_the_size_of_the_result() -> None:
    texture = checked(texture_request(48, 32))
    assert (texture.width, texture.height) == (48, 32)
    assert texture.recipe.longest_side == 48
    assert texture.recipe.start == "noise"
    assert texture.recipe.content_weight == 0


@pytest.mark.parametrize(("width", "height"), [(0, 32), (15, 32), (8193, 32)])
def test_a_textures_sides_have_a_range(width: int, height: int) -> None:
    assert set(faults(texture_request(width, height))) == {"spec.texture.width"}
    assert set(faults(texture_request(height, width))) == {"spec.texture.height"}


def test_a_texture_and_a_content_exclude_each_other() -> None:
    both = texture_request(32, 32)
    both.spec.content.encoded = coded(photo())
    assert set(faults(both)) == {"spec.texture"}
    neither = stylize_request()
    neither.spec.ClearField("content")
    assert "texture" in faults(neither)["spec.content"]


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        (pb.Recipe(content_weight=1), "content_weight"),
        (pb.Recipe(longest_side=64), "longest_side"),
        (pb.Recipe(start=pb.START_CONTENT), "start"),
        (pb.Recipe(color=pb.COLOR_LUMINANCE), "color"),
        (pb.Recipe(objective=pb.OBJECTIVE_REPORT), "objective"),
    ],
)
def test_a_recipe_that_needs_a_content_is_refused_for_a_texture(recipe: pb.Recipe, field: str) -> None:
    assert set(faults(texture_request(48, 32, recipe=recipe))) == {f"spec.recipe.{field}"}


def test_each_region_is_checked() -> None:
    request = stylize_request()
    whole = pb.Image(encoded=coded(mask()))
    request.spec.regions.extend(
        [
            pb.Region(content_mask=whole, style=0, style_mask=whole),
            pb.Region(content_mask=whole, style=1),
            pb.Region(content_mask=pb.Image(encoded=b"no image"), style_mask=pb.Image()),
            pb.Region(style=0),
        ]
    )
    assert set(faults(request)) == {
        "spec.regions[1].style",
        "spec.regions[2].content_mask",
        "spec.regions[2].style_mask",
        "spec.regions[3].content_mask",
    }
    del request.spec.regions[1:]
    checked(request)


def test_too_many_regions_are_refused() -> None:
    request = stylize_request()
    region = pb.Region(content_mask=pb.Image(encoded=coded(mask())))
    request.spec.regions.extend([region] * 16)
    checked(request)
    request.spec.regions.append(region)
    assert set(faults(request)) == {"spec.regions"}


def test_the_selection_is_checked() -> None:
    request = stylize_request()
    request.spec.selection.encoded = coded(mask())[3:]
    assert set(faults(request)) == {"spec.selection"}
    request.spec.selection.encoded = coded(mask())
    checked(request)


def test_the_field_of_an_invalid_image_is_named() -> None:
    request = stylize_request()
    found = {"content": (32, 24), "styles[0].image": PictureFault("is 0; give 1", "raw.width")}
    with pytest.raises(CallError, match=r"raw\.width"):
        check_request(request, found)


def test_a_texture_has_neither_selection_nor_regions() -> None:
    request = texture_request(32, 32)
    request.spec.selection.encoded = coded(mask())
    request.spec.regions.add(content_mask=pb.Image(encoded=coded(mask())))
    assert set(faults(request)) == {"spec.selection", "spec.regions"}


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_a_layers_share_must_be_positive(weight: float) -> None:
    layers = [pb.LayerWeight(layer="relu1_1", weight=1), pb.LayerWeight(layer="relu2_1", weight=weight)]
    for field in ("content_layers", "style_layers"):
        found = faults(stylize_request(recipe=pb.Recipe(**{field: layers})))
        assert set(found) == {f"spec.recipe.{field}[1].weight"}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (pb.PreviewOptions(format=pb.IMAGE_FORMAT_TIFF), "preview.format"),
        (pb.PreviewOptions(format=77), "preview.format"),
        (pb.PreviewOptions(max_side=15), "preview.max_side"),
        (pb.PreviewOptions(max_side=2049), "preview.max_side"),
        (pb.PreviewOptions(max_bytes=4095), "preview.max_bytes"),
        (pb.PreviewOptions(min_interval=Duration(nanos=99_000_000)), "preview.min_interval"),
        (pb.PreviewOptions(min_interval=Duration(seconds=61)), "preview.min_interval"),
    ],
)
def test_preview_options_out_of_range_are_refused(options: pb.PreviewOptions, field: str) -> None:
    assert set(faults(stylize_request(preview=options))) == {field}


def test_a_refusal_fits_into_a_trailer() -> None:
    request = stylize_request(b"x", recipe=pb.Recipe(content_weight=-1, style_weight=-1, longest_side=1))
    bad = pb.Style(image=pb.Image(encoded=b"x"), weight=-1)
    request.spec.styles.extend([bad] * 15)
    with pytest.raises(CallError) as caught:
        checked(request)
    assert caught.value.status.ByteSize() < 5000
