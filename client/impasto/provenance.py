"""How a picture was made, from its metadata: a text entry of a PNG or TIFF, or a sidecar."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from impasto import tiff
from impasto.errors import InvalidRequest
from impasto.files import decoded
from impasto.recipe import FIELD_ON_WIRE, Recipe

if TYPE_CHECKING:
    from impasto.job import ServerInfo

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_METADATA_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class StyleRecord:
    """A style: the SHA-256 of its image, as it was sent, and its weight."""

    sha256: str
    weight: float


@dataclasses.dataclass(frozen=True)
class RegionRecord:
    """A region: the SHA-256 of its masks, as they were sent, and the index of its style, from 0."""

    content_mask_sha256: str
    style: int
    style_mask_sha256: str | None


@dataclasses.dataclass(frozen=True)
class Provenance:
    """How a picture was made.

    Attributes:
        recipe: the recipe.
        content_sha256: SHA-256 of the content, as it was sent; None for a texture.
        styles: the styles, in order.
        start_image_sha256, selection_sha256: SHA-256 of these images; None if there was none.
        texture: width and height of a texture in pixels; None if there was a content.
        regions: the regions, in order.
        version: version of the server; None if unknown.
        device: description of the device; None if unknown.
        weights: name of the feature network's weights; None if unknown.
        network_sha256: SHA-256 of the weights' file; None if unknown.
        torch: version of PyTorch; None if unknown.
        memory_plan: how it fitted into memory, for example "tiled (512 px)"; None if unknown.
        bits_per_channel: bits per channel of the picture, 8 or 16; None if unknown.
    """

    recipe: Recipe
    content_sha256: str | None
    styles: tuple[StyleRecord, ...]
    start_image_sha256: str | None
    texture: tuple[int, int] | None
    regions: tuple[RegionRecord, ...]
    selection_sha256: str | None
    version: str | None
    device: str | None
    weights: str | None
    network_sha256: str | None
    torch: str | None
    memory_plan: str | None
    bits_per_channel: int | None

    def differences(self, info: ServerInfo) -> list[str]:
        """Returns how a server differs from the one that made the picture, each difference as a clause."""
        found = []
        network = info.network
        if network is None or network.sha256 != self.network_sha256:
            now = f"{network.weights} (SHA-256 {network.sha256})" if network else "unknown"
            found.append(
                f"its feature network was {self.weights or 'unnamed'} "
                f"(SHA-256 {self.network_sha256 or 'unknown'}), the server's is {now}"
            )
        if info.version != self.version:
            found.append(f"it was made by version {self.version or 'unknown'}, the server is {info.version}")
        descriptions = [device.description for device in info.devices]
        # Before version 0.2, a CPU with one thread had "1 threads".
        device = self.device and re.sub(r"\b1 threads$", "1 thread", self.device)
        if device not in descriptions:
            found.append(
                f"it was painted on {self.device or 'an unknown device'}, the server has "
                f"{', '.join(descriptions) or 'none'}"
            )
        return found

    def changes(self, now: Provenance) -> list[str]:
        """Returns differences from a later picture that no server announces beforehand, as clauses."""
        return [
            f"{word} was {before or 'unknown'} then, is {after or 'unknown'} now"
            for word, before, after in (
                ("PyTorch", self.torch, now.torch),
                ("the memory plan", self.memory_plan, now.memory_plan),
            )
            if before != after
        ]


_OTHER_PICTURES = {
    # A TIFF of more than 4 GiB. Impasto does not write any.
    "BigTIFF": re.compile(rb"II\+\0|MM\0\+"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "WebP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
}


_SILENT = (
    "does not say how it was made: it is not Impasto's, or was saved by another program; give its sidecar"
)


def read(data: bytes) -> Provenance:
    """Return how a picture (PNG or TIFF) was made, from its metadata or from a sidecar (JSON).

    Raises:
        ValueError: the metadata is missing or cannot be understood; the message is a clause that follows the
            file's name.
    """
    if data.startswith(PNG_SIGNATURE):
        text = png_text(data, "impasto")
        if text is None:
            raise ValueError(_SILENT)
    elif data.startswith(tiff.SIGNATURES):
        text = tiff.description(data, MAX_METADATA_BYTES)
        # Cameras and other programs write other descriptions there.
        if text is None or not _is_ours(text):
            raise ValueError(_SILENT)
    else:
        for kind, pattern in _OTHER_PICTURES.items():
            if pattern.match(data):
                raise ValueError(
                    f"is a {kind}, which does not say how it was made; give its sidecar. If it has none, "
                    "paint it with --sidecar, or as a PNG"
                )
        try:
            text = decoded(data)
        except UnicodeDecodeError:
            raise ValueError("is neither a PNG nor a sidecar in JSON") from None
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("does not say in JSON how it was made") from None
    if not isinstance(metadata, dict):
        raise ValueError("does not say how it was made: its JSON is no object")
    return parse(metadata)


def _is_ours(text: str) -> bool:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(metadata, dict) and {"impasto", "recipe"} <= metadata.keys()


def parse(metadata: Mapping[str, Any]) -> Provenance:
    """Return metadata as plain data. Unknown entries are ignored.

    Raises:
        ValueError: an entry is missing or wrong; the message is a clause that follows the file's name.
    """
    top = _Entries(metadata, "")
    network = top.entries("network") if "network" in top else _Entries({}, "")
    texture = top.entries("texture") if "texture" in top else None
    return Provenance(
        recipe=_recipe(top.entries("recipe")),
        content_sha256=None if texture else top.digest("content_sha256"),
        styles=tuple(
            StyleRecord(style.digest("sha256"), style.number("weight")) for style in top.each("styles")
        ),
        start_image_sha256=top.digest_if_any("start_image_sha256"),
        texture=(texture.whole("width"), texture.whole("height")) if texture else None,
        regions=tuple(
            RegionRecord(
                region.digest("content_mask_sha256"),
                region.whole("style"),
                region.digest_if_any("style_mask_sha256"),
            )
            for region in (top.each("regions") if "regions" in top else ())
        ),
        selection_sha256=top.digest_if_any("selection_sha256"),
        version=top.text_if_any("impasto"),
        device=top.text_if_any("device"),
        weights=network.text_if_any("weights"),
        network_sha256=network.digest_if_any("sha256"),
        torch=top.text_if_any("torch"),
        memory_plan=_memory_plan(top.entries("memory_plan")) if "memory_plan" in top else None,
        bits_per_channel=top.whole("bits_per_channel") if "bits_per_channel" in top else None,
    )


class _Entries:
    """An object of the metadata. Its methods raise ValueError for missing and wrong entries."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        self.values = values
        self._path = path

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def entries(self, key: str) -> _Entries:
        return _Entries(self._value(key, dict, "an object"), f"{self._path}{key}.")

    def each(self, key: str) -> list[_Entries]:
        found = []
        for i, value in enumerate(self._value(key, list, "a list")):
            if not isinstance(value, dict):
                raise self._not_understood(f"{key}[{i}]", "an object")
            found.append(_Entries(value, f"{self._path}{key}[{i}]."))
        return found

    def digest(self, key: str) -> str:
        value: str = self._value(key, str, "a SHA-256")
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise self._not_understood(key, "a SHA-256")
        return value

    def digest_if_any(self, key: str) -> str | None:
        return self.digest(key) if key in self else None

    def number(self, key: str) -> float:
        return float(self._value(key, (int, float), "a number"))

    def whole(self, key: str) -> int:
        return int(self._value(key, int, "a whole number"))

    def text_if_any(self, key: str) -> str | None:
        return str(self._value(key, str, "a text")) if key in self else None

    def _value(self, key: str, kind: type | tuple[type, ...], word: str) -> Any:
        if key not in self:
            raise ValueError(f"does not say enough about its making: there is no entry {self._path}{key}")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._not_understood(key, word)
        return value

    def _not_understood(self, key: str, word: str) -> ValueError:
        return ValueError(f"cannot be understood: its entry {self._path}{key} is not {word}")


def _memory_plan(entries: _Entries) -> str | None:
    method = entries.text_if_any("method")
    return f"{method} ({entries.whole('tile_side')} px)" if "tile_side" in entries else method


def _recipe(entries: _Entries) -> Recipe:
    # Metadata has the names of the contract.
    known = {FIELD_ON_WIRE[key].name: value for key, value in entries.values.items() if key in FIELD_ON_WIRE}
    try:
        return Recipe(**known)
    except InvalidRequest as error:
        raise ValueError(f"cannot be understood: its recipe's {error.message}") from None


def png_text(png: bytes, keyword: str) -> str | None:
    """Return a text entry of a PNG (ISO/IEC 15948, 11.3.4) without Pillow.

    None if there is no such entry, or if it is incomplete or longer than `MAX_METADATA_BYTES`.
    """
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        body = png[position + 8 : position + 8 + length]
        position += length + 12
        if len(body) < length:
            return None
        key, _, rest = body.partition(b"\0")
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or key != keyword.encode("latin-1"):
            continue
        try:
            if kind == b"tEXt":
                return rest.decode("latin-1")
            if kind == b"zTXt":
                return _inflated(rest[1:]).decode("latin-1")
            text = rest[2:].split(b"\0", 2)[2]
            return (_inflated(text) if rest[0] == 1 else text).decode("utf-8")
        except (IndexError, ValueError, zlib.error):
            return None
    return None


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    text = stream.decompress(data, MAX_METADATA_BYTES)
    if not stream.eof:
        raise ValueError("cut off, or longer than metadata can be")
    return text
