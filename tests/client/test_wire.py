from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image, ImageCms

import impasto
from impasto import images, requests, wire
from impasto import recipe as words
from impasto.v1 import style_transfer_pb2 as pb
from support.fake_server import jpeg, png


def test_only_what_is_set_is_sent() -> None:
    assert requests.recipe_message(impasto.Recipe()) == pb.Recipe()
    sent = requests.recipe_message(impasto.Recipe(tv_weight=0.0, seed=0, objective="report", effort="draft"))
    assert {field.name for field, _ in sent.ListFields()} == {"tv_weight", "seed", "objective", "effort"}


def test_a_recipe_survives_the_way_there_and_back() -> None:
    recipe = impasto.Recipe(
        objective="gatys",
        content_weight=0.5,
        style_weight=2.0,
        tv_weight=0.0,
        optimizer="adam",
        learning_rate=0.25,
        evaluations=7,
        size=640,
        start="noise",
        seed=2**32 - 1,
        precision="bfloat16",
        style_scale=0.5,
        color="luminance",
        content_layers={"relu4_2": 1, "relu5_1": 0.5},
        style_layers=[("relu3_1", 2.0)],
        averaging=0.0,
        stop_on_plateau=False,
    )
    assert wire.recipe(requests.recipe_message(recipe)) == recipe


def test_preparing_is_none_once_the_targets_are_found() -> None:
    told = pb.Progress(evaluation=7, evaluations=9, scale=2, scales=3, width=8, height=6, preparing=0.25)
    found = wire.progress(told)
    assert (found.evaluation, found.preparing, found.time_left) == (7, 0.25, None)
    told.ClearField("preparing")
    assert wire.progress(told).preparing is None


def test_progress_has_every_field_of_the_contract() -> None:
    names = [field.name for field in dataclasses.fields(impasto.Progress)]
    assert names == [field.name for field in pb.Progress.DESCRIPTOR.fields]


def test_the_recipe_has_every_field_and_word_of_the_contract() -> None:
    assert {field.wire_name for field in words.FIELDS.values()} == {
        field.name for field in pb.Recipe.DESCRIPTOR.fields
    }
    assert {field.name for field in dataclasses.fields(impasto.Recipe)} == set(words.FIELDS)
    assert set(words.Settings.__annotations__) == {field.name for field in dataclasses.fields(impasto.Recipe)}
    for literal, enum in (
        (words.Objective, pb.Objective),
        (words.Optimizer, pb.Optimizer),
        (words.Effort, pb.Effort),
        (words.Start, pb.Start),
        (words.Precision, pb.Precision),
        (words.Color, pb.Color),
    ):
        prefix = enum.Name(0)[: -len("UNSPECIFIED")]
        assert {prefix + word.upper() for word in get_args(literal)} | {enum.Name(0)} == set(enum.keys())


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"objective": "cubist"}, "spec.recipe.objective"),
        ({"size": -1}, "spec.recipe.longest_side"),
        ({"size": 2**32}, "spec.recipe.longest_side"),
        ({"seed": 1.5}, "spec.recipe.seed"),
        ({"content_weight": "much"}, "spec.recipe.content_weight"),
        ({"effort": "draft", "evaluations": 3}, "spec.recipe.effort"),
        ({"color": "mine"}, "spec.recipe.color"),
        ({"stop_on_plateau": "perhaps"}, "spec.recipe.stop_on_plateau"),
        ({"content_layers": "relu4_2"}, "spec.recipe.content_layers"),
        ({"content_layers": 3}, "spec.recipe.content_layers"),
        ({"style_layers": ["relu4_2"]}, "spec.recipe.style_layers"),
        ({"style_layers": {"relu4_2": "much"}}, "spec.recipe.style_layers"),
    ],
)
def test_an_invalid_setting_names_its_field(settings: dict[str, object], field: str) -> None:
    with pytest.raises(impasto.InvalidRequest) as caught:
        requests.recipe_message(impasto.Recipe(**settings))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert "give" in caught.value.remedy


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("size", -1, "cannot be -1; give a whole number: 16 to 8192"),
        ("size", 2**40, "give a whole number: 16 to 8192"),
        ("size", "big", "cannot be 'big'; give a whole number: 16 to 8192"),
        ("evaluations", -1, "give a whole number: 1 to 100000"),
        ("seed", -1, "give a whole number: 0 to 4294967295"),
        ("style_scale", "2x", "give a number: 0.1 to 4"),
        ("stop_on_plateau", "no", "give True or False"),
    ],
)
def test_a_value_that_no_message_can_hold_is_refused_with_the_range_of_its_field(
    field: str, value: object, said: str
) -> None:
    with pytest.raises(impasto.InvalidRequest) as caught:
        requests.recipe_message(impasto.Recipe(**{field: value}))  # type: ignore[arg-type]
    assert caught.value.field == f"spec.recipe.{words.FIELDS[field].wire_name}"
    assert caught.value.remedy.endswith(said)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("fine", "give effort='fine'"),
        ("lbfgs", "give optimizer='lbfgs'"),
        ("", "give an impasto.Recipe or the name of one: "),
        ("relu1_1", "give an impasto.Recipe or the name of one: "),
        ({"effort": "fine"}, "give its entries as keywords: **recipe"),
        (3, "give an impasto.Recipe or the name of one: "),
        (impasto.Recipe, "give an impasto.Recipe or the name of one: "),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_to_give(given: Any, remedy: str) -> None:
    with impasto.Client("127.0.0.1:9") as client:
        for paint in (client.stylize, client.create_job):
            with pytest.raises(impasto.InvalidRequest) as caught:
                paint(png(), png(), recipe=given, seed=3)
            assert str(caught.value).startswith(f"recipe cannot be {given!r}; {remedy}")
            assert caught.value.field == "spec.recipe"


def test_images_may_be_paths_bytes_or_raw_pixels(tmp_path: Path) -> None:
    data = png()
    file = tmp_path / "a.png"
    file.write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), file, str(file)):
        assert images.image_message(source).encoded == data
    raw = images.image_message(impasto.RawPixels(1, 2, b"\1\2\3\4" * 2)).raw
    assert (raw.width, raw.height, len(raw.rgba)) == (1, 2, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pillow_images_are_sent_without_loss(mode: str) -> None:
    image = Image.linear_gradient("L").resize((8, 4)).convert(mode.replace("I;16", "I"))
    if mode == "I;16":
        image = image.convert("I;16")
    sent = Image.open(io.BytesIO(images.image_message(image).encoded))
    assert sent.size == (8, 4)
    assert list(sent.convert("RGBA").tobytes()) == list(image.convert("RGBA").tobytes())


def test_a_pillow_image_keeps_its_orientation_and_colour_profile() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(io.BytesIO(jpeg(8, 4))).save(file, "JPEG", exif=exif, icc_profile=profile)
    sent = Image.open(io.BytesIO(images.image_message(Image.open(file)).encoded))
    assert sent.getexif()[0x0112] == 6
    assert sent.info["icc_profile"] == profile


def test_an_unsupported_image_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="of the type int"):
        images.image_message(3)  # type: ignore[arg-type]


def test_styles_may_be_one_or_several_with_or_without_weights() -> None:
    data = png()
    for styles in (
        data,
        [data],
        impasto.Style(data),
        (data, 2.0),
        (data, data),
        [(data, 2.0), impasto.Style(data, weight=3.0)],
    ):
        spec = requests.job_spec(data, styles, recipe=impasto.Recipe())  # type: ignore[arg-type]
        assert all(style.image.encoded == data for style in spec.styles)
    assert [style.weight for style in spec.styles] == [2.0, 3.0]


def test_a_start_image_sets_the_recipes_start() -> None:
    spec = requests.job_spec(png(), png(), recipe=impasto.Recipe(), start_image=png())
    assert spec.recipe.start == pb.START_IMAGE
    assert spec.start_image.encoded == png()


def test_layers_are_kept_as_pairs() -> None:
    layers = {"relu4_2": 1}
    recipe = impasto.Recipe(content_layers=layers)
    layers["relu1_1"] = 2
    assert recipe.content_layers == (("relu4_2", 1.0),)
    assert hash(recipe) == hash(impasto.Recipe(content_layers=[("relu4_2", 1.0)]))


def test_a_texture_has_no_content() -> None:
    spec = requests.job_spec(None, png(), recipe=impasto.Recipe(), texture=(64, 48))
    assert not spec.HasField("content")
    assert spec.texture == pb.TextureSize(width=64, height=48)


def test_regions_and_a_selection() -> None:
    mask, other = png(4, 4), png(5, 5)
    regions = [impasto.Region(mask), impasto.Region(other, 1, style_mask=mask)]
    spec = requests.job_spec(
        png(), png(), recipe=impasto.Recipe(), regions=regions, selection=Image.new("L", (3, 2), 255)
    )
    assert list(spec.regions) == [
        pb.Region(content_mask=pb.Image(encoded=mask)),
        pb.Region(content_mask=pb.Image(encoded=other), style=1, style_mask=pb.Image(encoded=mask)),
    ]
    assert Image.open(io.BytesIO(spec.selection.encoded)).size == (3, 2)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"texture": (64, -1)}, "spec.texture.height"),
        ({"texture": (64.5, 64)}, "spec.texture.width"),
        ({"texture": 64}, "spec.texture"),
        ({"regions": [impasto.Region(b"mask"), impasto.Region(b"mask", style=-1)]}, "spec.regions[1].style"),
        ({"styles": (b"style", "much"), "texture": None}, "spec.styles[0].weight"),
    ],
)
def test_invalid_parts_name_their_field(fields: dict[str, Any], field: str) -> None:
    styles = [fields.pop("styles")] if "styles" in fields else png()
    with pytest.raises(impasto.InvalidRequest) as caught:
        requests.job_spec(png(), styles, recipe=impasto.Recipe(), **fields)
    assert caught.value.field == field


def test_a_memory_plan() -> None:
    plan = pb.MemoryPlan(method=pb.MEMORY_METHOD_TILED, estimated_bytes=5, tile_side=64)
    job = wire.job(pb.Job(memory_plan=plan, stop_reason=pb.STOP_REASON_PLATEAU))
    assert job.memory_plan == impasto.MemoryPlan("tiled", 5, 64)
    assert job.stop_reason == "plateau"
    assert wire.job(pb.Job()).memory_plan is None
    plain = pb.MemoryPlan(method=pb.MEMORY_METHOD_PLAIN, estimated_bytes=5)
    assert wire.memory_plan(plain) == impasto.MemoryPlan("plain", 5, None)


def test_previews() -> None:
    assert requests.previews_message(True) == pb.PreviewOptions()
    assert requests.previews_message(False) == pb.PreviewOptions(disabled=True)
    sent = requests.previews_message(
        impasto.Previews(format="webp", max_side=64, max_bytes=5000, min_interval=0.5)
    )
    assert (sent.format, sent.max_side, sent.max_bytes) == (pb.IMAGE_FORMAT_WEBP, 64, 5000)
    assert sent.min_interval.ToMilliseconds() == 500


def test_a_recipe_can_be_named_after_its_objective() -> None:
    assert words.completed("gatys", {"size": 64}) == impasto.Recipe(objective="gatys", size=64)
    assert words.completed("gatys", {"objective": "report"}).objective == "report"


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        ("longest_side", "did you mean 'size'?"),
        ("contentweight", "did you mean 'content_weight'?"),
        ("content_layer", "did you mean 'content_layers'?"),
        ("steps", "give one of objective, content_weight, "),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(setting: str, answer: str) -> None:
    refuse = (lambda: impasto.Recipe(**{setting: 1}), lambda: words.completed(impasto.Recipe(), {setting: 1}))  # type: ignore[arg-type]
    for make in refuse:
        with pytest.raises(TypeError) as caught:
            make()
        assert str(caught.value).startswith(f"unknown setting {setting!r}; {answer}")


def test_an_error_about_a_field_with_another_name_in_python_names_both() -> None:
    with pytest.raises(impasto.InvalidRequest) as caught:
        requests.recipe_message(impasto.Recipe(size=-1))
    assert caught.value.message == "spec.recipe.longest_side cannot be -1; give a whole number: 16 to 8192"
    assert str(caught.value) == f"{caught.value.message} (spec.recipe.longest_side is 'size' in Python)"
