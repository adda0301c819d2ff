from __future__ import annotations

import pytest

from impasto_server.engine.network import Network
from support.random_networks import random_weights


@pytest.fixture(scope="session")
def network() -> Network:
    """A VGG-16 with random weights, float32."""
    return Network(random_weights("vgg16"))
