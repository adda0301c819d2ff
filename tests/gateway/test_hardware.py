"""Devices that do not exist are refused before the server listens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.hardware import check_devices
from support.server_process import PATIENCE


def card(root: Path, name: str, vendor: str, kind: str) -> None:
    folder = root / "sys/bus/pci/devices" / name
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A machine without a GPU for computing, with another maker's GPU for its screen."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    card(tmp_path, "0000:00:02.0", "0x8086", "0x030000")
    card(tmp_path, "0000:00:03.0", "0x10de", "0x040300")  # A sound device of Nvidia.
    return tmp_path


def refusal(root: Path, *devices: str, platform: str = "linux", visible: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as told:
        check_devices(devices, root, platform, seen(visible))
    return str(told.value)


def seen(visible: str | None) -> dict[str, str]:
    return {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:9", "mps"])
def test_a_machine_without_a_gpu_has_only_the_cpu(bare: Path, device: str) -> None:
    assert refusal(bare, device) == f"there is no device {device!r} here; there is cpu"
    assert refusal(bare, "cpu", device) == f"there is no device {device!r} here; there is cpu"
    check_devices(["cpu", "cpu"], bare, "linux", {})
    check_devices(["auto"], bare, "linux", {})


@pytest.mark.parametrize("sign", ["dev", "proc", "sys"])
def test_gpus_are_counted_by_whichever_source_shows_most(bare: Path, sign: str) -> None:
    for number in range(2):
        if sign == "dev":
            (bare / f"dev/nvidia{number}").touch()
        elif sign == "proc":
            (bare / f"proc/driver/nvidia/gpus/0000:0{number}:00.0").mkdir(parents=True)
        else:
            card(bare, f"0000:0{number}:00.0", "0x10de", ("0x030000", "0x030200")[number])
    check_devices(["cuda", "cuda:0", "cuda:1", "cpu"], bare, "linux", {})
    assert refusal(bare, "cuda:1", "cuda:2") == (
        "there is no device 'cuda:2' here; there is cuda:0, cuda:1, cpu"
    )


@pytest.mark.parametrize(
    ("visible", "there"),
    [
        ("1,3", "cuda:0, cuda:1, cpu"),
        ("GPU-8932f937,GPU-1", "cuda:0, cuda:1, cpu"),
        ("MIG-1a,MIG-2b", "cuda:0, cuda:1, cpu"),
        ("0,9,1", "cuda:0, cpu"),
        ("", "cpu"),
        ("-1", "cpu"),
    ],
)
def test_only_visible_gpus_count(bare: Path, visible: str, there: str) -> None:
    for number in range(4):
        (bare / f"dev/nvidia{number}").touch()
    *gpus, _ = there.split(", ")
    check_devices([*gpus, "cpu"], bare, "linux", seen(visible))
    assert refusal(bare, f"cuda:{len(gpus)}", visible=visible) == (
        f"there is no device 'cuda:{len(gpus)}' here; there is {there}, because CUDA_VISIBLE_DEVICES is "
        f"{visible!r}"
    )


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_is_visible_twice_is_refused(bare: Path, device: str, gpus: int) -> None:
    if gpus:
        (bare / "dev/nvidia0").touch()
    assert refusal(bare, device, visible="0,0") == (
        "CUDA_VISIBLE_DEVICES is '0,0', which names 0 twice; name each GPU once"
    )
    check_devices(["cpu"], bare, "linux", seen("0,0"))


def test_a_machine_without_a_gpu_does_not_blame_the_variable(bare: Path) -> None:
    assert refusal(bare, "cuda:0", visible="0").endswith("there is cpu")


@pytest.mark.parametrize("file", ["kfd", "dxg"])
def test_gpus_that_cannot_be_counted_are_left_to_the_worker(bare: Path, file: str) -> None:
    (bare / "dev" / file).touch()
    check_devices(["cuda:9"], bare, "linux", {})
    assert "there is cpu" in refusal(bare, "mps")


def test_mps_exists_only_on_macos(bare: Path) -> None:
    check_devices(["mps"], bare, "darwin", {})
    assert refusal(bare, "cuda", platform="darwin").endswith("there is mps, cpu")


@pytest.mark.parametrize("private", [[], ["--private"]])
@pytest.mark.parametrize("device", ["cuda:9999", "cpu,cuda:9999"])
def test_a_server_for_a_missing_device_ends_before_it_listens(
    tmp_path: Path, device: str, private: list[str]
) -> None:
    if any(os.path.exists(path) for path in ("/dev/kfd", "/dev/dxg")):
        pytest.skip("its GPUs cannot be counted")
    command = [sys.executable, "-m", "impasto_server", "serve", "--port", "0", "--device", device]
    command += ["--data-dir", str(tmp_path / "data"), *private]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(
        "impasto-server: there is no device 'cuda:9999' here; there"
    )
    assert not (tmp_path / "data").exists()
