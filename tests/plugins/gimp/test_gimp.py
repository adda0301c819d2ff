"""The plugin in the real GIMP 3, against a real server.

One run of GIMP takes 10 to 30 seconds, mostly for its start, so that few runs do much each.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import impasto
from impasto.hosts.choices import MIDDLE_CONTENT_WEIGHT
from impasto_server.gateway.tokens import Tokens
from support.gimp_host import Gimp, set_up
from support.samples import photo
from support.server_process import ServerProcess, running_server

WIDTH, HEIGHT = 48, 32
SMALL = 32
DATA = Path(impasto.__file__).parent / "data"
PICTURES = (
    "nobody",
    "ready",
    "paused",
    "painting",
    "cancelled",
    "painted",
    "queue",
    "history",
    "found",
    "image closed",
)
PUT = "m"
"""The letter that goes with Alt to “Put It in the Image”."""

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not os.environ.get("IMPASTO_REQUIRE_HOSTS"),
        reason="runs in the real host, which takes minutes: set IMPASTO_REQUIRE_HOSTS=1",
    ),
]


@pytest.fixture(scope="module")
def gimp(tmp_path_factory: pytest.TempPathFactory) -> Gimp:
    set_up()
    folder = tmp_path_factory.mktemp("gimp")
    photo(WIDTH, HEIGHT).save(folder / "photo.png")
    photo(32, 32).rotate(90).save(folder / "style.png")
    PIL.Image.open(DATA / "astronaut.jpg").resize((400, 300)).save(folder / "large.png", icc_profile=None)
    (folder / "wrong").write_text("imp_wrong\n")
    return Gimp(folder)


@pytest.fixture(scope="module")
def studio(gimp: Gimp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for tokens and has a style named waves; the token is in GIMP's folder."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "styles").mkdir()
    photo(40, 30).rotate(180).save(folder / "styles" / "waves.png")
    tokens = Tokens(folder / "tokens.json")
    (gimp.folder / "token").write_text(tokens.add("artist") + "\n")
    with running_server(
        *("--device", "cpu", "--weights", "builtin", "--port", "0"),
        *("--styles-dir", str(folder / "styles"), "--tokens-file", str(tokens.path)),
    ) as running:
        yield running


def nobodys_address() -> str:
    """An address where nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def told(gimp: Gimp, studio: ServerProcess) -> dict[str, Any]:
    """What came of a script's calls, all in one run of GIMP."""
    return gimp.console("script.py", server=studio.address, stopped=nobodys_address())


def test_a_layer_is_painted_in_the_style_of_a_file(told: dict[str, Any]) -> None:
    whole = told["whole"]
    assert whole["status"] == "success", whole["sentence"]
    layer = whole["layer"]
    assert layer["box"] == [0, 0, WIDTH, HEIGHT]
    assert layer["mask"] is None
    assert whole["layers"] == [layer["name"], "Background"]
    assert layer["name"] == "style, strength 50, seed 0"
    painted = bytes.fromhex(layer["pixels"])
    was = photo(WIDTH, HEIGHT).convert("RGBA").tobytes()
    off = sum(abs(a - b) for a, b in zip(painted, was, strict=True)) / len(was)
    # Painted, and still the same picture.
    assert 1 < off < 80
    assert set(painted[3::4]) == {255}


def test_the_layer_stores_how_it_was_made(told: dict[str, Any]) -> None:
    kept = json.loads(told["selection"]["layer"]["kept"])
    assert kept["style"] == "waves"
    assert kept["choices"]["strength"] == 80
    recipe = kept["job"]["recipe"]
    assert recipe["seed"] == 3
    assert recipe["content_weight"] == pytest.approx(MIDDLE_CONTENT_WEIGHT * 8**-0.6, rel=1e-3)


def test_the_selection_is_the_mask(told: dict[str, Any]) -> None:
    selection = told["selection"]
    assert selection["status"] == "success", selection["sentence"]
    layer = selection["layer"]
    assert layer["box"] == told["bounds"]
    mask = layer["mask"]
    width, height = layer["box"][2:]
    assert len(mask) == width * height
    assert mask[0] < 10
    assert mask[height // 2 * width + width // 2] > 200
    # Feathered.
    assert len(set(mask)) > 20


def test_a_grey_deep_layer_beyond_the_image_painted_smaller(told: dict[str, Any]) -> None:
    grey = told["grey"]
    assert grey["status"] == "success", grey["sentence"]
    assert told["grey precision"] == "u16-non-linear"
    assert grey["layer"]["grey"]
    kept = json.loads(grey["layer"]["kept"])
    assert kept["job"]["recipe"]["longest_side"] == 24
    assert kept["job"]["recipe"]["color"] == "luminance"
    x, y, width, height = grey["layer"]["box"]
    assert (x + width, y, height) == (WIDTH - 8, 4, HEIGHT)


@pytest.mark.parametrize(
    ("case", "status", "says"),
    [
        ("no style", "execution-error", "Choose a style"),
        ("no file", "execution-error", "There is no style file /share/none.png."),
        ("no image", "execution-error", "The file is not a PNG"),
        ("no such name", "execution-error", "has no style “sunflowers”. It has: starry-night, waves."),
        ("no server", "execution-error", "No server answers at"),
        ("no address", "execution-error", "Enter the address"),
        ("no port", "execution-error", "is not an address"),
        ("no token", "execution-error", "token"),
        ("wrong token", "execution-error", "does not know your token"),
        ("no token file", "execution-error", "The token file /share/none cannot be read"),
        ("plaintext", "execution-error", "Switch on Encrypted (TLS)"),
        ("certificates", "execution-error", "The certificate file /share/none.pem cannot be read"),
        ("beside", "calling-error", "Nothing of the layer “Background” is selected"),
        ("channel", "calling-error", "Choose one layer"),
        ("transparent", "execution-error", "the layer “Background” is transparent here"),
    ],
)
def test_errors_are_sentences(told: dict[str, Any], case: str, status: str, says: str) -> None:
    refused = told["refused"][case]
    assert refused["status"] == status
    assert says in refused["sentence"], refused["sentence"]
    assert "Traceback" not in refused["sentence"]
    assert refused["layers"] == ["Background"]
    assert refused["seconds"] < 15


@pytest.mark.parametrize("case", ["whole", "selection", "grey"])
def test_the_artists_layer_is_never_changed(told: dict[str, Any], case: str) -> None:
    assert told[case]["untouched"]


def test_a_painting_as_the_active_layer_is_not_painted_but_its_source(told: dict[str, Any]) -> None:
    second = told["second"]
    assert second["status"] == "success", second["sentence"]
    source, first = (json.loads(told[name]["layer"]["kept"])["source"] for name in ("second", "whole"))
    assert source["part"] == first["part"]
    # Right above the source, below the first painting.
    assert [name.partition(",")[0] for name in second["layers"]] == ["waves", "waves", "Background"]


def test_a_deep_image_gets_a_deep_result_with_all_settings(told: dict[str, Any]) -> None:
    deep = told["deep"]
    assert deep["status"] == "success", deep["sentence"]
    recipe = json.loads(deep["layer"]["kept"])["job"]["recipe"]
    assert recipe["evaluations"] == 3
    assert recipe["style_scale"] == 2
    # More levels than 8 bits have.
    assert told["deep levels"] > 256


def test_gimps_own_cancel_which_kills_the_plugin_cancels_the_job(told: dict[str, Any]) -> None:
    assert told["killed"]["state"] == "cancelled"
    assert told["killed"]["seconds"] < 60
    assert told["kill"]["status"] != "success"


@pytest.mark.parametrize(
    ("case", "box"),
    [
        ("same", [100, 50, 200, 120]),
        ("cropped", [20, 20, 200, 120]),
        ("visible, cropped", [20, 20, 200, 120]),
        ("scaled", [200, 100, 400, 240]),
        ("scaled and moved", [230, 80, 400, 240]),
        ("mirrored", [100, 50, 200, 120]),
        ("upside down", [100, 130, 200, 120]),
        ("float", [0, 0, 400, 300]),
        ("float, smaller", [0, 0, 400, 300]),
    ],
)
def test_a_result_goes_where_its_part_is_now(told: dict[str, Any], case: str, box: list[int]) -> None:
    landed = told["pieces"][case]
    assert landed["box"] == box
    assert landed["off"] < 5


def test_a_result_is_never_lost(told: dict[str, Any]) -> None:
    closed = told["pieces"]["closed"]
    assert "is closed, so the painting is a new image" in closed["told"]
    assert closed["width"] == 200
    # There, the painting itself can be painted.
    assert told["pieces"]["alone"]["layer"]
    assert "whose own layer is gone" in told["pieces"]["alone"]["told"]
    assert "is turned now, so the painting is a new image" in told["pieces"]["turned"]


def test_a_result_goes_into_a_group_whose_position_is_locked(told: dict[str, Any]) -> None:
    assert told["pieces"]["locked group"] == ["shut", 5, 7, 20]
    # GIMP numbers a name that it has already.
    above, below = told["pieces"]["locked group's layers"]
    assert above.startswith("result")
    assert below == "inner"


def test_what_other_peoples_images_say_does_no_harm(told: dict[str, Any]) -> None:
    pieces = told["pieces"]
    # As large as it was painted, wherever its place makes no sense.
    assert pieces["wrong places"] == [[200, 120]] * 5
    assert len(pieces["wrong layers"]) == 3
    assert all("is a painting of Impasto" in told for told in pieces["wrong layers"])


def test_enormous_pictures_and_layers_take_no_enormous_memory(told: dict[str, Any]) -> None:
    pieces = told["pieces"]
    assert isinstance(pieces["enormous"], str)
    assert pieces["enormous thumbnail"]
    assert pieces["large"] < 3
    assert pieces["levels"] > 50
    assert pieces["odd"] == 129


def test_a_second_go_paints_the_source(told: dict[str, Any]) -> None:
    again = told["pieces"]["again"]
    assert again["layer"] == "Background" == again["mask"]
    assert again["source"]
    assert "is a painting of Impasto" in again["told"]
    assert again["white left out"]
    assert again["hidden still"]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("all hidden", "every layer is hidden or transparent here"),
        ("transparent", "is transparent here"),
        ("hidden group", "The group “shut” is hidden"),
    ],
)
def test_what_cannot_be_seen_is_refused_before_work(told: dict[str, Any], case: str, says: str) -> None:
    assert says in told["pieces"][case]


def test_results_in_groups_and_new_images_and_shapes_of_areas(told: dict[str, Any]) -> None:
    pieces = told["pieces"]
    assert pieces["groups"] == ["Paintings", "Paintings"]
    assert pieces["layers with groups"] == ["Paintings", "b", "a", "Background"]
    assert pieces["from a group"] == "Background"
    assert pieces["new image"] == [True, 200, ""]
    assert pieces["selection's shape"] == [255, 0]
    assert pieces["group's shape"] == [255, 0]
    assert pieces["float"]["bits"] == 16


@pytest.fixture(scope="module")
def used(gimp: Gimp, studio: ServerProcess) -> dict[str, Any]:
    """What came of using the dialog, all in one run of GIMP."""
    # Without its colour profile and orientation, about which GIMP asks before it opens an image.
    PIL.Image.open(DATA / "astronaut.jpg").save(gimp.folder / "subject.png", icc_profile=None)
    return gimp.window(
        "people.py",
        "subject.png",
        server=studio.address,
        stopped=nobodys_address(),
        put=PUT,
        small=SMALL,
    )


def test_what_is_entered_is_kept_although_nothing_is_painted(used: dict[str, Any]) -> None:
    assert used["nobody"] == "cancel"
    assert used["nobody layers"] == ["subject.png"]
    # The next dialog has painted with it.
    assert used["painted job"] == "succeeded"


def test_a_painting_is_steered_paused_and_cancelled(used: dict[str, Any]) -> None:
    assert used["steered"] == pytest.approx(MIDDLE_CONTENT_WEIGHT * 8**-0.6, rel=1e-3)
    assert used["after cancel"] == "cancelled"


def test_the_dialog_paints_one_layer_above_the_artists_own(used: dict[str, Any]) -> None:
    assert used["painted"] == "success"
    assert [name.partition(",")[2] for name in used["layers"]] == [" strength 30, seed 0", ""]
    assert used["own layer as it was"]
    # Painted with what was typed after the first go was cancelled.
    assert json.loads(used["kept"])["choices"]["size"] == SMALL


def test_one_undo_removes_the_layer_and_redo_restores_it(used: dict[str, Any]) -> None:
    assert used["undone"] == ["subject.png"]
    assert used["own layer after undo"]
    assert used["redone"] == used["layers"]
    assert used["result after redo"]


def test_two_paintings_wait_and_each_second_go_has_a_seed_of_its_own(used: dict[str, Any]) -> None:
    assert used["two"] == ["succeeded", "succeeded"]
    assert len(used["queue layers"]) == 4
    assert used["queue layers"][-1] == "subject.png"
    made = [json.loads(used["kept"]), *used["queue kept"]]
    assert len({each["choices"]["seed"] for each in made}) == 3
    # All of them from the artist's own layer.
    assert len({json.dumps(each["source"]) for each in made}) == 1


def test_the_image_has_its_history(used: dict[str, Any]) -> None:
    made = [json.loads(used["kept"]), *used["queue kept"]]
    assert sorted(used["history in the image"]) == sorted(each["choices"]["seed"] for each in made)


def test_repeat_paints_with_the_last_settings(used: dict[str, Any]) -> None:
    assert used["again"] == "success", used["again error"]
    assert len(used["again layers"]) == 5
    again, last = json.loads(used["again kept"]), json.loads(used["kept"])
    assert again["choices"]["size"] == 384
    assert {**again["choices"], "seed": 0, "size": SMALL} == last["choices"]
    assert again["source"] == last["source"]


def test_a_painting_goes_on_without_the_dialog_and_is_offered_the_next_time(used: dict[str, Any]) -> None:
    assert used["closed"] == "cancel"
    assert used["after closing"] == "succeeded"
    assert used["found"] == "success"
    assert used["found layers"] == 1


def test_the_painting_of_an_image_that_was_closed_is_a_new_image(used: dict[str, Any]) -> None:
    # It was closed in time.
    assert used["image closed, job"] == "running"
    assert used["images then"] == [used["size"]]


def test_screenshots_of_the_dialog_are_taken(used: dict[str, Any], gimp: Gimp) -> None:
    pictures = {name: PIL.Image.open(gimp.folder / f"{name}.png").convert("RGB") for name in PICTURES}
    for picture in pictures.values():
        assert min(picture.size) > 400
    # The picture changes while it is painted.
    assert len({picture.tobytes() for picture in pictures.values()}) == len(PICTURES)
    if keep := os.environ.get("IMPASTO_KEEP_PICTURES"):
        for name, picture in pictures.items():
            picture.save(f"{keep}/gimp-{name}.png", optimize=True)
