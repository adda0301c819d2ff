"""Whether a face stays one: the distance of the face in a painting to that in its photograph.

For comparisons only. It needs two packages that no other part of Impasto needs, which bring their models
with them: `dlib-bin` and `face-recognition-models`.
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
"""Distance below which dlib's network takes two photographs for the same person's."""

_DETECTION_SIDE = 640
"""Shorter side, in pixels, that a picture is brought to before a face is looked for: the detector's window
has 80 pixels."""

_LEAST_OVERLAP = 0.3
"""Of the two faces' boxes, as a share of the area they cover together."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the picture's sides."""


class FacesError(Exception):
    """Faces cannot be measured on this machine. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class Face:
    """A face that was found.

    Attributes:
        box: where.
        embedding: (128,), what dlib's network knows the person by.
    """

    box: Box
    embedding: npt.NDArray[np.float64]


class Faces:
    """Finds faces and tells them apart, with dlib's detector and network.

    Raises:
        FacesError: the packages are not installed.
    """

    def __init__(self) -> None:
        models = importlib.util.find_spec("face_recognition_models")
        if models is None or importlib.util.find_spec("dlib") is None:
            raise FacesError(
                "faces are measured with dlib and its models, which are not installed; run "
                "`pip install dlib-bin face-recognition-models`, or leave out --faces"
            )
        dlib: Any = importlib.import_module("dlib")
        # The package itself is not imported: it needs a part of setuptools that is gone.
        folder = Path((models.submodule_search_locations or [""])[0]) / "models"
        try:
            self._detect = dlib.get_frontal_face_detector()
            self._landmarks = dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))
            self._embed = dlib.face_recognition_model_v1(
                str(folder / "dlib_face_recognition_resnet_model_v1.dat")
            )
        except RuntimeError as error:
            raise FacesError(f"dlib cannot load its models from {folder} ({error})") from error

    def found(self, picture: Image.Image) -> list[Face]:
        """The faces of a picture (mode RGB), those that look most like faces first."""
        factor = _DETECTION_SIDE / min(picture.size)
        size = round(picture.width * factor), round(picture.height * factor)
        image = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
        faces = []
        for box in self._detect(image, 0):
            shape = self._landmarks(image, box)
            embedding = np.array(self._embed.compute_face_descriptor(image, shape), np.float64)
            sides = box.left() / size[0], box.top() / size[1], box.right() / size[0], box.bottom() / size[1]
            faces.append(Face(sides, embedding))
        return faces

    def distances(self, content: Image.Image, painting: Image.Image) -> list[float | None]:
        """How far each of the content's faces is from the face at its place in the painting.

        Args:
            content, painting: mode RGB, of the same proportions. The content is looked at in the painting's
                size: what is lost with the size is not the painting's fault.

        Returns:
            For each face of the content, as in `face_distances`; empty if no faces are found in it.
        """
        wanted = self.found(content.resize(painting.size, Image.Resampling.LANCZOS))
        return face_distances(wanted, self.found(painting)) if wanted else []


def face_distances(wanted: list[Face], painted: list[Face]) -> list[float | None]:
    """How far each wanted face is from the painted face at its place.

    Returns:
        For each wanted face the distance of the two embeddings, about 0 … 1.4; lower is better, below
        `SAME_PERSON` for the same person. None where there is no face any more.
    """
    distances = []
    for face in wanted:
        there = [other for other in painted if overlap(face.box, other.box) >= _LEAST_OVERLAP]
        distances.append(
            min((float(np.linalg.norm(face.embedding - other.embedding)) for other in there), default=None)
        )
    return distances


def overlap(a: Box, b: Box) -> float:
    """What two boxes share of the area that they cover together, 0 … 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)
