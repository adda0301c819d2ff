"""Impasto paints a photograph in the style of a painting. A server does the work; this package calls it.

    import impasto

    with impasto.Client("gpu-machine:50051") as client:
        with client.stylize("photo.jpg", "starry_night.jpg", size=1024) as painting:
            for event in painting:
                if isinstance(event, impasto.Progress):
                    print(f"{event.evaluation}/{event.evaluations}")
                elif isinstance(event, impasto.Preview):
                    event.image.save("preview.png")
            painting.result().save("painted.png")

Where to go from here:

- `Client` has every call of the service. `impasto.aio.Client` has the same calls for asyncio.
- `Client.stylize` paints and returns a `Painting`. Iterate over it to watch; `Painting.result`
  waits for the end.
- `Recipe` has every setting of how a picture is painted, with its range and default. `stylize` takes the same
  settings by name: `size=1024, effort="fine", content_weight=0.5`.
- `Client.create_job` starts a job that goes on without its caller. Any client can then list, watch, steer,
  pause or cancel it, and download its result: see `Client.jobs`, `watch`, `update_job`, `pause`, `cancel` and
  `download`.
- `Client.estimate` says what painting would take, without painting.
- `PrivateServer` starts a server on this machine for as long as your program needs it.
- `ImpastoError` is the base class of all errors. An `InvalidRequest` names the field and says what to do.
- `impasto.hosts` has what a plugin for an image editor needs.

Importing this package is fast: gRPC, protobuf and Pillow are imported when they are first used. Calls need
grpcio, or grpclib, which is pure Python.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from impasto.errors import (
    ClientClosed,
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
    TransportMissing,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from impasto.job import (
    ContactLost,
    Device,
    Estimate,
    Event,
    FeatureNetwork,
    ImageLinks,
    Job,
    JobChanged,
    JobDeleted,
    JobsEvent,
    JobsListed,
    Limits,
    MemoryPlan,
    NamedStyle,
    NewestPreview,
    Preview,
    Progress,
    ServerInfo,
    WebPage,
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

# pdoc does not see names that are imported when they are first used.
if TYPE_CHECKING or "pdoc" in sys.modules:
    from impasto.client import Client
    from impasto.painting import Painting
    from impasto.picture import CodedImage, Picture
    from impasto.private_server import PrivateServer

    __version__: str

__all__ = [
    "Client",
    "ClientClosed",
    "CodedImage",
    "ContactLost",
    "DataLoss",
    "DeadlineExceeded",
    "Device",
    "Estimate",
    "Event",
    "FailedPrecondition",
    "FeatureNetwork",
    "ImageLinks",
    "ImageSource",
    "ImpastoError",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobChanged",
    "JobDeleted",
    "JobFailed",
    "JobsEvent",
    "JobsListed",
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
    "TransportMissing",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "UploadedImage",
    "WebPage",
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
