from __future__ import annotations

import hashlib
import http.server
import logging
import os
import pickle
import threading

import pytest
import safetensors.torch
import torch

from impasto_server.engine import WeightsError, load_weights
from impasto_server.engine import weights as module
from impasto_server.engine.weights import fetch_vgg19, load_vgg19_or_builtin, torchvision_indices
from support.random_networks import random_weights


def torchvision_state(architecture):
    state = {}
    indices = torchvision_indices(architecture)
    for name, (weight, bias) in random_weights(architecture).convolutions.items():
        state[f"features.{indices[name]}.weight"] = weight
        state[f"features.{indices[name]}.bias"] = bias
    return state


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_the_builtin_weights_are_loaded_and_verified():
    weights = load_weights("builtin")
    assert (weights.architecture, weights.name) == ("vgg16", "builtin")
    assert "CC BY 4.0" in weights.origin
    assert weights.sha256 == module.BUILTIN_SHA256
    assert list(weights.convolutions)[-1] == "conv5_1"


@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_in_the_layout_of_torchvision_is_loaded(tmp_path, architecture, suffix):
    path = tmp_path / f"mine{suffix}"
    state = torchvision_state(architecture)
    state["classifier.0.weight"] = torch.zeros(4, 4)
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    weights = load_weights(str(path))
    assert (weights.architecture, weights.name) == (architecture, path.name)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for name, (weight, bias) in random_weights(architecture).convolutions.items():
        assert torch.equal(weights.convolutions[name][0], weight)
        assert torch.equal(weights.convolutions[name][1], bias)


def test_a_file_in_the_old_format_of_torch_is_loaded(tmp_path):
    path = tmp_path / "old.pth"
    torch.save(torchvision_state("vgg16"), path, _use_new_zipfile_serialization=False)
    assert load_weights(str(path)).architecture == "vgg16"


def bad_files():
    state = torchvision_state("vgg16")
    no_bias = {name: t for name, t in state.items() if name != "features.7.bias"}
    wrong_shape = state | {"features.2.weight": torch.zeros(64, 32, 3, 3)}
    not_finite = state | {"features.2.bias": torch.full((64,), float("nan"))}
    normalised = state | {"features.1.running_mean": torch.zeros(64)}
    return {
        "no bias": (no_bias, r"features\.7"),
        "wrong shape": (wrong_shape, "conv1_2"),
        "not finite": (not_finite, "not finite"),
        "batch normalisation": (normalised, "batch normalisation"),
        "not a state dict": ([1, 2, 3], "state dict"),
        "another network": ({"layer1.weight": torch.zeros(3)}, "not a VGG"),
    }


@pytest.mark.parametrize("what", list(bad_files()))
def test_a_file_of_another_network_is_refused(tmp_path, what):
    content, message = bad_files()[what]
    path = tmp_path / "bad.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        load_weights(str(path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 not a zip", b"\xff" * 200])
def test_a_file_without_weights_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=path.name):
        load_weights(str(path))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save(torchvision_state("vgg16"), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(str(path))


def test_a_pickle_cannot_run_code(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "attacked"),))

    path = tmp_path / "attack.pth"
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(WeightsError):
        load_weights(str(path))
    assert not (tmp_path / "attacked").exists()


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        load_weights(str(tmp_path / "nowhere.pth"))


class Download:
    """A web server with one file, which can cut the file off, stall or refuse."""

    def __init__(self, content: bytes) -> None:
        self.content, self.sent, self.stall, self.status = content, len(content), threading.Event(), 200
        self.stall.set()
        test = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(test.status)
                self.send_header("Content-Length", str(len(test.content)))
                self.end_headers()
                self.wfile.write(test.content[: test.sent])
                self.wfile.flush()
                test.stall.wait(10)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/vgg19.pth"

    def close(self) -> None:
        self.stall.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def download(tmp_path):
    path = tmp_path / "source.pth"
    torch.save(torchvision_state("vgg19"), path)
    server = Download(path.read_bytes())
    yield server
    server.close()


def test_vgg19_is_fetched_once_verified_and_cached(hub, download, monkeypatch):
    prefix = hashlib.sha256(download.content).hexdigest()[:8]
    monkeypatch.setattr(module, "_VGG19_SHA256_PREFIX", prefix)
    path = fetch_vgg19(url=download.url, sha256_prefix=prefix)
    assert path == hub / module.VGG19_FILE
    assert path.read_bytes() == download.content
    download.status = 500
    weights = load_weights("vgg19")
    assert (weights.architecture, weights.name) == ("vgg19", "vgg19")
    assert weights.origin == module.VGG19_ORIGIN


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["wrong hash", "cut off", "stalled", "refused", "nobody there"])
def test_a_download_that_fails_leaves_nothing_and_can_be_restarted(hub, download, monkeypatch, trouble):
    monkeypatch.setattr(module, "STALL_SECONDS", 0.3)
    prefix = hashlib.sha256(download.content).hexdigest()[:8]
    url = download.url
    if trouble == "wrong hash":
        prefix = "00000000"
    elif trouble == "cut off":
        download.sent = len(download.content) // 2
    elif trouble == "stalled":
        download.sent = len(download.content) // 2
        download.stall.clear()
    elif trouble == "refused":
        download.status = 403
    else:
        url = "http://127.0.0.1:9/vgg19.pth"
    with pytest.raises(WeightsError, match="could not be downloaded"):
        fetch_vgg19(url=url, sha256_prefix=prefix)
    assert list(hub.iterdir()) == []

    monkeypatch.setattr(module, "STALL_SECONDS", 10)
    download.stall.set()
    download.sent, download.status = len(download.content), 200
    prefix = hashlib.sha256(download.content).hexdigest()[:8]
    assert fetch_vgg19(url=download.url, sha256_prefix=prefix).exists()


def test_the_remains_of_a_killed_download_are_removed(hub, download):
    hub.mkdir(parents=True)
    (hub / f"{module.VGG19_FILE}.0123abcd.partial").write_bytes(b"half")
    fetch_vgg19(url=download.url, sha256_prefix=hashlib.sha256(download.content).hexdigest()[:8])
    assert [path.name for path in hub.iterdir()] == [module.VGG19_FILE]


def test_a_damaged_cache_is_not_used(hub):
    hub.mkdir(parents=True)
    (hub / module.VGG19_FILE).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="damaged"):
        load_weights("vgg19")


def test_without_vgg19_the_builtin_weights_are_used_and_logged(hub, caplog, monkeypatch):
    with pytest.raises(WeightsError, match="impasto-server weights fetch"):
        load_weights("vgg19")
    with caplog.at_level(logging.INFO):
        assert load_vgg19_or_builtin(download=False).name == "builtin"
    assert "weights fetch" in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO"]

    caplog.clear()
    refuse = WeightsError("VGG-19 could not be downloaded (refused)")
    monkeypatch.setattr(module, "fetch_vgg19", lambda: (_ for _ in ()).throw(refuse))
    assert load_vgg19_or_builtin(download=True).name == "builtin"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
