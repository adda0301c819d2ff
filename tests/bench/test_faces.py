"""Measurements of how well paintings keep faces."""

from __future__ import annotations

import importlib.util
from importlib import resources

import PIL.Image
import PIL.ImageChops
import PIL.ImageFilter
import pytest

from impasto_server.bench.faces import SAME_PERSON, Faces, FacesError, KeptFace, overlap
from support.random_networks import picture

needs_dlib = pytest.mark.skipif(
    not (importlib.util.find_spec("dlib") and importlib.util.find_spec("face_recognition_models")),
    reason="dlib and its models are not installed",
)


def test_the_overlap_of_boxes_is_their_intersection_over_their_union() -> None:
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0
    assert overlap((0, 0, 1, 1), (5, 5, 6, 6)) == 0


@pytest.mark.parametrize("missing", ["dlib", "face_recognition_models"])
def test_missing_packages_are_reported_with_the_command_to_install_them(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found("json"))
    with pytest.raises(FacesError, match="pip install dlib-bin face-recognition-models"):
        Faces()


@needs_dlib
def test_the_distance_of_a_face_grows_as_the_face_is_blurred() -> None:
    with (resources.files("impasto") / "data" / "astronaut.jpg").open("rb") as file:
        photo = PIL.Image.open(file).convert("RGB")
    faces = Faces()

    def blurred(radius: float) -> KeptFace:
        (face,) = faces.kept(photo, photo.filter(PIL.ImageFilter.GaussianBlur(radius)))
        return face

    assert faces.kept(photo, photo) == [KeptFace(0.0, detected=True)]
    soft, gone = blurred(1), blurred(20)
    assert 0 < soft.distance < SAME_PERSON < gone.distance
    assert (soft.detected, gone.detected) == (True, False)


@needs_dlib
def test_a_face_elsewhere_in_the_painting_does_not_count() -> None:
    with (resources.files("impasto") / "data" / "astronaut.jpg").open("rb") as file:
        photo = PIL.Image.open(file).convert("RGB")
    moved = PIL.ImageChops.offset(photo, 200, 150)
    (face,) = Faces().kept(photo, moved)
    assert not face.detected
    assert face.distance > SAME_PERSON


@needs_dlib
def test_a_picture_without_people_has_no_faces_to_keep() -> None:
    assert Faces().kept(picture(96, 64), picture(96, 64)) == []
