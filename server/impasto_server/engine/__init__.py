"""The optimiser of Impasto. It is a library in its own right: plain PyTorch, without gRPC, files or globals.

```python
from PIL import Image
from impasto_server.engine import Network, Recipe, Scene, Session, Style, load_weights

network = Network(load_weights("builtin"))
scene = Scene(
    content=Image.open("photo.jpg").convert("RGB"),
    styles=[Style(Image.open("painting.jpg").convert("RGB"))],
)
session = Session(Recipe(longest_side=256), scene, network)
for progress in session:
    print(progress.evaluation, progress.loss)
session.picture().save("result.png")
```

The names below are loaded when first used, so that `engine.recipe`, which is plain data, can be imported
without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto_server.engine.network import Network
    from impasto_server.engine.recipe import Recipe, RecipeError
    from impasto_server.engine.scene import Region, Scene, Style
    from impasto_server.engine.session import Progress, Session
    from impasto_server.engine.targets import TargetCache
    from impasto_server.engine.weights import Weights, WeightsError, load_weights

_HOME = {
    "Network": "network",
    "Progress": "session",
    "Recipe": "recipe",
    "RecipeError": "recipe",
    "Region": "scene",
    "Scene": "scene",
    "Session": "session",
    "Style": "scene",
    "TargetCache": "targets",
    "Weights": "weights",
    "WeightsError": "weights",
    "load_weights": "weights",
}

__all__ = [
    "Network",
    "Progress",
    "Recipe",
    "RecipeError",
    "Region",
    "Scene",
    "Session",
    "Style",
    "TargetCache",
    "Weights",
    "WeightsError",
    "load_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
