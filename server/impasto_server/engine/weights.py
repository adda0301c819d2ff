"""Weights of the feature network: torchvision's VGG-19, the built-in VGG-16 trunk, or a file."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
import socket
import sys
import urllib.error
from importlib import resources
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch

Architecture = Literal["vgg16", "vgg19"]

CONVOLUTIONS: dict[Architecture, tuple[int, ...]] = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions in each of the five blocks (Simonyan, Zisserman 2014, table 1, columns D and E)."""

LAST_NEEDED = "conv5_1"

BUILTIN_FILE = "vgg16_to_conv5_1_normalised_fp16.safetensors"
BUILTIN_SHA256 = "31b94143d0e5600bc79b0cba7c1df66b1f41fcf61f3a3bd79704d77c3f7ec217"
BUILTIN_ORIGIN = (
    "VGG-16 trunk by K. Simonyan and A. Zisserman, Visual Geometry Group, University of Oxford, CC BY 4.0; "
    "cut after conv5_1, layers normalised"
)
VGG19_FILE = "vgg19-dcbb9e9d.pth"
VGG19_ORIGIN = "torchvision VGG19_Weights.IMAGENET1K_V1, BSD-3-Clause"
_VGG19_SHA256_PREFIX = "dcbb9e9d"

STALL_SECONDS = 10.0
"""Time in seconds after which a download that makes no progress fails; the time to connect counts too."""

_log = logging.getLogger(__name__)


class WeightsError(Exception):
    """Weights that cannot be loaded, or are not those of a VGG. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """The convolutions of a VGG network.

    Attributes:
        architecture: which VGG.
        name: "vgg19", "builtin" or the file's name.
        origin: their origin and licence, in a sentence.
        sha256: SHA-256 of the file, 64 hexadecimal digits.
        convolutions: weight (out, in, 3, 3) and bias (out), float32, by name ("conv1_1"), in order.
    """

    architecture: Architecture
    name: str
    origin: str
    sha256: str
    convolutions: dict[str, tuple[torch.Tensor, torch.Tensor]]


def convolution_names(architecture: Architecture) -> list[str]:
    """Returns the names of the network's convolutions in order: conv1_1, conv1_2, conv2_1, …"""
    blocks = CONVOLUTIONS[architecture]
    return [f"conv{b}_{i}" for b, count in enumerate(blocks, 1) for i in range(1, count + 1)]


def torchvision_indices(architecture: Architecture) -> dict[str, int]:
    """Returns the index of each convolution in torchvision's `features`.

    There, a ReLU follows each convolution, and a pooling follows each block.
    """
    indices, index = {}, 0
    for name in convolution_names(architecture):
        block, position = int(name[4]), int(name[6])
        indices[name] = index
        index += 2 + (position == CONVOLUTIONS[architecture][block - 1])
    return indices


def load_weights(name: str, *, download: bool = False) -> Weights:
    """Loads weights by name.

    Args:
        name: "vgg19" (torchvision's, from torch.hub's cache), "builtin", or the path of a file: a
            torchvision-layout state dict of VGG-16 or VGG-19 (`.pth`, `.pt`), or safetensors in that layout
            or with tensors named `conv1_1.weight`, `conv1_1.bias`, ….
        download: whether to download "vgg19" if it is not in the cache.

    Raises:
        WeightsError: they are missing, cannot be read, or are not those of a VGG.
    """
    if name == "builtin":
        file = resources.files("impasto_server.engine") / "data" / BUILTIN_FILE
        with resources.as_file(file) as path:
            return _load_file(path, "builtin", BUILTIN_ORIGIN, expected_sha256=BUILTIN_SHA256)
    if name == "vgg19":
        path = vgg19_cache_path()
        if not path.exists():
            if not download:
                raise WeightsError(
                    f"VGG-19 is not in the cache ({path}); get it with `impasto-server weights fetch`"
                )
            fetch_vgg19()
        return _load_file(path, "vgg19", VGG19_ORIGIN, expected_sha256=_VGG19_SHA256_PREFIX)
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; give vgg19, builtin or the path of a file")
    return _load_file(path, path.name, f"the file {path.name}")


def load_vgg19_or_builtin(*, download: bool) -> Weights:
    """Loads VGG-19 if it is cached or can be downloaded; otherwise the built-in weights, with a log line."""
    try:
        return load_weights("vgg19", download=download)
    except WeightsError as error:
        level = logging.WARNING if download else logging.INFO
        _log.log(level, "using the built-in VGG-16 weights instead of VGG-19: %s", error)
        return load_weights("builtin")


def vgg19_cache_path() -> Path:
    """Returns the path of VGG-19 in torchvision's cache (`$TORCH_HOME/hub/checkpoints`)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / VGG19_FILE


def builtin_path() -> Path:
    """Returns the path of the built-in weights."""
    return Path(str(resources.files("impasto_server.engine") / "data" / BUILTIN_FILE))


def verified_sha256(path: Path, expected: str) -> str:
    """Returns the SHA-256 of a file, and checks that it begins with `expected`.

    Raises:
        WeightsError: it does not.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if not digest.hexdigest().startswith(expected):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {digest.hexdigest()}, but it should begin with {expected}; "
            "delete it and run `impasto-server weights fetch`"
        )
    return digest.hexdigest()


def fetch_vgg19(*, url: str | None = None, sha256_prefix: str = _VGG19_SHA256_PREFIX) -> Path:
    """Downloads torchvision's VGG-19 into torch.hub's cache, with a progress bar on a terminal.

    The file gets its name only when it is complete and its hash is right. A download that was interrupted
    starts again from the beginning.

    Args:
        url: address of the file; torchvision's own by default.
        sha256_prefix: the beginning of the file's SHA-256.

    Raises:
        WeightsError: the download fails, stalls for `STALL_SECONDS`, or gives another file.
    """
    if url is None:
        # Imported here because the import takes a second and nothing else needs it.
        from torchvision.models import VGG19_Weights

        url = VGG19_Weights.IMAGENET1K_V1.url
    path = vgg19_cache_path()
    default_timeout = socket.getdefaulttimeout()
    # torch.hub's download sets no time limit itself.
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left_over in path.parent.glob(f"{path.name}.*.partial"):
            left_over.unlink(missing_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=sha256_prefix, progress=sys.stderr.isatty()
        )
    except (OSError, urllib.error.URLError, RuntimeError, EOFError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, OSError):
            reason = reason.strerror or reason
        raise WeightsError(
            f"VGG-19 could not be downloaded ({reason}); check the network connection, or download {url} on "
            f"another machine and save it as {path}"
        ) from error
    finally:
        socket.setdefaulttimeout(default_timeout)
    return path


def _load_file(path: Path, name: str, origin: str, *, expected_sha256: str = "") -> Weights:
    sha256 = verified_sha256(path, expected_sha256)
    tensors = _read_tensors(path)
    if "features.0.weight" in tensors:
        if "features.1.running_mean" in tensors:
            raise WeightsError(f"{path} is a VGG with batch normalisation; give one without")
        # VGG-19 has conv3_4 at the index of VGG-16's third pooling.
        architecture: Architecture = "vgg19" if "features.16.weight" in tensors else "vgg16"
        prefix = {conv: f"features.{i}" for conv, i in torchvision_indices(architecture).items()}
    else:
        architecture = "vgg19" if "conv3_4.weight" in tensors else "vgg16"
        prefix = {conv: conv for conv in convolution_names(architecture)}

    convolutions = {}
    channels = 3
    for conv in convolution_names(architecture):
        out = min(64 << (int(conv[4]) - 1), 512)
        weight, bias = tensors.get(f"{prefix[conv]}.weight"), tensors.get(f"{prefix[conv]}.bias")
        if weight is None or bias is None:
            raise WeightsError(
                f"{path} is not a VGG-16 or VGG-19: it has no {prefix[conv]}.weight and .bias ({conv}); "
                "give a torchvision state dict, or tensors named conv1_1.weight, conv1_1.bias, …"
            )
        if weight.shape != (out, channels, 3, 3) or bias.shape != (out,):
            raise WeightsError(
                f"{path} is not a VGG: {conv} has the shape {tuple(weight.shape)}, not "
                f"{(out, channels, 3, 3)}; give the weights of a VGG-16 or VGG-19"
            )
        convolutions[conv] = (weight.float(), bias.float())
        channels = out
        if conv == LAST_NEEDED:
            break
    if not all(w.isfinite().all() and b.isfinite().all() for w, b in convolutions.values()):
        raise WeightsError(f"{path} is damaged: it contains values that are not finite; get a new copy")
    return Weights(architecture, name, origin, sha256, convolutions)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # weights_only: an untrusted pickle must not run code. mmap: the 500 MB of the head are never read.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:
        # The unpickler can raise any exception on bytes that are not a pickle: KeyError, struct.error, …
        first_line = re.split(r"[\n]|\. ", str(error).strip(), maxsplit=1)[0]
        raise WeightsError(
            f"{path} cannot be read as weights ({first_line}); give a .pth state dict or a .safetensors file"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(t, torch.Tensor) for t in loaded.values()):
        raise WeightsError(f"{path} is not a state dict (names and tensors); save model.state_dict()")
    return loaded


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"
