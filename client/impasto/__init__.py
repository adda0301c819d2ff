"""Impasto: paint a photograph in the style of a painting, on a server, and watch it being painted.

    import impasto

    with impasto.Client("gpu-machine:50051") as client:
        painting = client.stylize("photo.jpg", "starry_night.jpg", effort="draft")
        for event in painting:
            if isinstance(event, impasto.Progress):
                print(f"{event.evaluation}/{event.evaluations}")
        painting.result().save("painted.png")

A job can also be left and come back to: `Client.create_job` makes one that goes on by itself, and `watch`,
`jobs`, `update_job`, `pause`, `cancel` and `download` work on any, from any client.

Without a server of your own, `impasto.PrivateServer` starts one on this machine for as long as needed.
Neither gRPC nor protobuf nor Pillow is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from impasto.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    ImpastoError,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotFound,
    PermissionDenied,
    PrivateServerError,
    ResourceExhausted,
    ServerError,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from impasto.job import (
    Device,
    Event,
    FeatureNetwork,
    Job,
    JobChanged,
    Limits,
    MemoryPlan,
    NamedStyle,
    NewestPreview,
    Preview,
    Progress,
    ServerInfo,
)
from impasto.recipe import (
    ImageSource,
    LayerWeights,
    Previews,
    RawPixels,
    Recipe,
    Region,
    Style,
    StyleName,
    StyleSource,
    UploadedImage,
)
from impasto.security import Tls

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.painting import Painting
    from impasto.picture import CodedImage, Picture
    from impasto.private_server import PrivateServer

    __version__: str

__all__ = [
    "Client",
    "CodedImage",
    "DataLoss",
    "DeadlineExceeded",
    "Device",
    "Event",
    "FailedPrecondition",
    "FeatureNetwork",
    "ImageSource",
    "ImpastoError",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobChanged",
    "JobFailed",
    "LayerWeights",
    "Limits",
    "MemoryPlan",
    "NamedStyle",
    "NewestPreview",
    "NotFound",
    "Painting",
    "PermissionDenied",
    "Picture",
    "Preview",
    "Previews",
    "PrivateServer",
    "PrivateServerError",
    "Progress",
    "RawPixels",
    "Recipe",
    "Region",
    "ResourceExhausted",
    "ServerError",
    "ServerInfo",
    "Style",
    "StyleName",
    "StyleSource",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "UploadedImage",
]

_LAZY = {
    "Client": "impasto.client",
    "CodedImage": "impasto.picture",
    "Painting": "impasto.painting",
    "Picture": "impasto.picture",
    "PrivateServer": "impasto.private_server",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("impasto")
    if name not in _LAZY:
        raise AttributeError(f"module 'impasto' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "__version__"})
