"""Notes about where a result goes, from other people's images, which needs no GIMP."""

from __future__ import annotations

import base64
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[3] / "client" / "plugins" / "gimp" / "impasto"
PLACE: dict[str, Any] = {
    "document": "0a",
    "image": 3,
    "file": "",
    "title": "photo.png",
    "kind": "layer",
    "to": "above",
    "source": "layer 5 0 0 40 30 0",
    "box": [-4, 2, 40, 30],
    "size": [60, 50],
    "grey": False,
    "mask": "eJw=",
    "layer": {
        "tattoo": 5,
        "box": [-4, 0, 60, 50],
        "samples": [[1, 2, base64.b64encode(bytes(range(40))).decode()]],
    },
}


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [*sys.path, str(PLUGIN)])
    return importlib.import_module("impasto_gimp.places")


def test_what_the_plugin_has_noted_stays(places: Any) -> None:
    assert places.checked(PLACE, 8, 6) == PLACE


@pytest.mark.parametrize(
    "wrong",
    [
        {"box": [0, 0, 2**40, 1]},
        {"box": [0, 0, 0, 5]},
        {"box": [0, 0, True, 5]},
        {"box": "0000"},
        {"size": [5]},
        {"size": None},
    ],
)
def test_without_a_box_that_makes_sense_the_result_is_a_new_image(places: Any, wrong: Any) -> None:
    place = places.checked({**PLACE, **wrong}, 8, 6)
    assert (place["to"], place["box"], place["mask"]) == ("image", [0, 0, 8, 6], "")


@pytest.mark.parametrize("layer", [[], 5, {"tattoo": 5}, {"box": [0, 0, -1, 5], "tattoo": 5}])
def test_a_layer_that_makes_no_sense_is_left_out(places: Any, layer: Any) -> None:
    assert "layer" not in places.checked({**PLACE, "layer": layer}, 8, 6)


@pytest.mark.parametrize("samples", [7, [[1, 2]], [["a", 2, "AAAA"]], [[1, 2, "é"]], [[1, 2, "A" * 4000]]])
def test_samples_that_make_no_sense_are_left_out(places: Any, samples: Any) -> None:
    layer = {**PLACE["layer"], "samples": samples}
    assert places.checked({**PLACE, "layer": layer}, 8, 6)["layer"]["samples"] == []


def test_texts_are_texts(places: Any) -> None:
    place = places.checked({**PLACE, "document": [], "title": 5, "mask": {}}, 8, 6)
    assert not {"document", "title", "mask"} & place.keys()
