from __future__ import annotations

import pytest

from impasto_server.visible_gpus import gpu_number, visible_gpus


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        (None, None),
        ("", []),
        ("-1", []),
        ("none", []),
        ("1,3", ["1", "3"]),
        (" 1 , 3 ", ["1", "3"]),
        ("2,-1,0", ["2"]),
        ("0,,1", ["0"]),
        ("GPU-8932f937-d72c", ["GPU-8932f937-d72c"]),
        ("MIG-1a,MIG-2b", ["MIG-1a", "MIG-2b"]),
        ("MIG-GPU-8932f937/1/0", ["MIG-GPU-8932f937/1/0"]),
    ],
)
def test_entries_are_read_until_the_first_that_is_none(text: str | None, entries: list[str] | None) -> None:
    assert visible_gpus({} if text is None else {"CUDA_VISIBLE_DEVICES": text}) == entries


@pytest.mark.parametrize("text", ["0,0", "1,0,1", "GPU-8,GPU-8"])
def test_a_gpu_that_is_named_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"names .* twice; name each GPU once"):
        visible_gpus({"CUDA_VISIBLE_DEVICES": text})


def test_the_number_of_a_gpu() -> None:
    assert [gpu_number(device) for device in ("cuda", "cuda:0", "cuda:12")] == [0, 0, 12]
