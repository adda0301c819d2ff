"""A session on paper: tensors as safetensors, all else as JSON in its header. No pickle."""

from __future__ import annotations

import json
from typing import Any

import safetensors
import safetensors.torch
import torch

_KEY = "impasto_session"
_FORMAT = 1


class CheckpointError(ValueError):
    """Bytes that are not a checkpoint, or not one of this painting."""


def dump(tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> bytes:
    """A checkpoint's bytes. Values must be JSON's; floats survive exactly."""
    text = json.dumps({"format": _FORMAT, **values})
    on_host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(on_host, metadata={_KEY: text})


def load(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and values of a checkpoint.

    Raises:
        CheckpointError: the bytes are not a checkpoint of this format.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        values = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
        tensors = safetensors.torch.load(data)
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError("the bytes are not a checkpoint of a painting, or are damaged") from error
    if values.get("format") != _FORMAT:
        raise CheckpointError(f"the checkpoint has the format {values.get('format')}, not {_FORMAT}")
    return tensors, values
