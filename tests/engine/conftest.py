from __future__ import annotations

import pytest

from impasto_server.engine.network import Network
from impasto_server.engine.weights import load_weights
from support.random_networks import random_weights


@pytest.fixture(scope="session")
def network() -> Network:
    """A VGG-16 with random weights, float32."""
    return Network(random_weights("vgg16"))


@pytest.fixture(scope="session")
def builtin_network() -> Network:
    """The network with the built-in weights, the only trained weights in these tests."""
    return Network(load_weights("builtin"))
