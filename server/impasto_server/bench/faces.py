"""Measures whether a painting keeps a face, by the distance between the faces in photograph and painting.

For comparisons only. It needs two packages that no other part of Impasto needs and that contain their models:
`dlib-bin` and `face-recognition-models`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SAME_PERSON = 0.6
"""Distance below which dlib's network takes two faces for the same person's."""

_DETECTION_SIDE = 640
"""Shorter side in pixels to which a picture is resized for the detector, whose window has 80 pixels."""

_LEAST_OVERLAP = 0.3
"""Minimum `overlap` of the boxes of two faces that count as the same."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


class FacesError(Exception):
    """Faces cannot be measured on this machine. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class KeptFace:
    """A face of a content in its painting.

    Attributes:
        distance: distance of the two faces' embeddings, about 0 … 1; lower is better, and below `SAME_PERSON`
            dlib takes both for the same person. The embedding in the painting is computed at the content's
            landmarks, so there is a distance even if the detector finds no face in the painting.
        detected: whether the detector, which was made for photographs, finds a face at that place.
    """

    distance: float
    detected: bool


class Faces:
    """Finds and compares faces with dlib's detector and network.

    Raises:
        FacesError: the packages are not installed, or their models cannot be loaded.
    """

    def __init__(self) -> None:
        models = importlib.util.find_spec("face_recognition_models")
        if models is None or importlib.util.find_spec("dlib") is None:
            raise FacesError(
                "dlib and its models, which --faces needs, are not installed; run "
                "`pip install dlib-bin face-recognition-models`, or leave out --faces"
            )
        dlib: Any = importlib.import_module("dlib")
        # The package itself cannot be imported: it needs a removed part of setuptools.
        folder = Path((models.submodule_search_locations or [""])[0]) / "models"
        try:
            self._detect = dlib.get_frontal_face_detector()
            self._landmarks = dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))
            self._embed = dlib.face_recognition_model_v1(
                str(folder / "dlib_face_recognition_resnet_model_v1.dat")
            )
        except RuntimeError as error:
            raise FacesError(
                f"dlib cannot load its models from {folder} ({error}); install face-recognition-models again"
            ) from error

    def kept(self, content: Image.Image, painting: Image.Image) -> list[KeptFace]:
        """Measures how well a painting keeps the content's faces.

        Args:
            content, painting: mode RGB, of the same proportions. The content is resized to the painting's
                size first, so that only the painting's own changes count.

        Returns:
            One entry for each face of the content, the most certain first; empty if there is no face.
        """
        photograph, painted = (
            _samples(content.resize(painting.size, Image.Resampling.LANCZOS)),
            _samples(painting),
        )
        boxes = self._boxes(photograph)
        found = self._boxes(painted) if boxes else []
        faces = []
        for box in boxes:
            landmarks = self._landmarks(photograph, box)
            there, here = (
                np.array(self._embed.compute_face_descriptor(samples, landmarks), np.float64)
                for samples in (photograph, painted)
            )
            detected = any(overlap(_sides(box), _sides(other)) >= _LEAST_OVERLAP for other in found)
            faces.append(KeptFace(float(np.linalg.norm(there - here)), detected))
        return faces

    def _boxes(self, samples: npt.NDArray[np.uint8]) -> list[Any]:
        """Returns the faces that the detector finds, as dlib's rectangles."""
        return list(self._detect(samples, 0))


def _samples(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Returns the samples of a picture at the detector's size, (H, W, 3)."""
    factor = _DETECTION_SIDE / min(picture.size)
    size = round(picture.width * factor), round(picture.height * factor)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def _sides(rectangle: Any) -> Box:
    return rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()


def overlap(a: Box, b: Box) -> float:
    """Returns the intersection of two boxes as a share of their union, 0 … 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)
