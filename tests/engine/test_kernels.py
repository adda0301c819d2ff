"""The kernels: each does what PyTorch's operators do, bit for bit, whether in C or not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto_server.engine import kernels
from impasto_server.engine.kernels import building, plain
from impasto_server.engine.kernels.library import Library, LibraryError
from impasto_server.engine.windows import Window

SPECIAL = (float("nan"), float("inf"), float("-inf"))

COMPILER = os.environ.get("CC", "cc").split()[0]
needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which(COMPILER) is None, reason="needs Linux and a C compiler"
)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The kernels compiled from this source, whatever is installed."""
    file = tmp_path_factory.mktemp("kernels") / "kernels.so"
    building.build(file, flags=("-Werror",))
    return Library(file)


@st.composite
def maps(draw: st.DrawFn, count: int) -> list[torch.Tensor]:
    """Maps of one shape and type, of few different numbers, so that many are equal."""
    dtype = draw(st.sampled_from([torch.bfloat16, torch.float32]))
    channels = draw(st.sampled_from([1, 3, 16, 64, 67, 130, 512]))
    height, width = (draw(st.integers(0, 7)) for _ in range(2))
    numbers = st.sampled_from([0.0, -0.0, 1.0, 1.5, -1.5, 3.1415926, 1e-40, 3e38, -3e38, *SPECIAL])
    made = []
    for _ in range(count):
        chosen = torch.tensor(draw(st.lists(numbers, min_size=1, max_size=5)))
        places = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
        offset = draw(st.integers(0, 3))
        at = torch.randint(len(chosen), (offset + height * width * channels,), generator=places)
        # Memory that does not begin where the allocation does.
        memory = chosen[at].to(dtype)[offset:]
        made.append(memory.view(1, height, width, channels).permute(0, 3, 1, 2))
    return made


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal numbers and memory layout; all NaNs are alike, and so are 0 and -0."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert not found.numel() or found.is_contiguous(memory_format=torch.channels_last)


@needs_compiler
@settings(max_examples=100, deadline=None)
@given(maps(2))
def test_pooling_is_that_of_pytorch(library: Library, drawn: list[torch.Tensor]) -> None:
    x = drawn[0].relu()
    values = library.pooled(x)
    same(values, plain.pooled(x))
    if values.numel():
        same(values, F.max_pool2d(x, 2))
    of_values = drawn[1][:, :, : values.shape[2], : values.shape[3]]
    of_values = of_values.contiguous(memory_format=torch.channels_last)
    gradient = library.unpooled(of_values, x, values)
    same(gradient, plain.unpooled(of_values, x, values))
    if values.numel() and not x.isnan().any():
        expected, indices = F.max_pool2d(x, 2, return_indices=True)
        expected = torch.ops.aten.max_pool2d_with_indices_backward(
            of_values, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )
        same(gradient, torch.ops.aten.threshold_backward(expected, x, 0))


@needs_compiler
@settings(max_examples=100, deadline=None)
@given(maps(2))
def test_masks_are_those_of_pytorch(library: Library, drawn: list[torch.Tensor]) -> None:
    gradient, x = drawn
    for path in (library, plain):
        masked = gradient.clone()
        path.mask_(masked, x)
        same(masked, torch.ops.aten.threshold_backward(gradient, x, 0))


def photo(height: int, width: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Features of a network's layer, as it makes them."""
    numbers = torch.randn((1, 64, height, width), generator=torch.Generator().manual_seed(height))
    return numbers.relu().to(dtype, memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def compiled_once(library: Library) -> Iterator[None]:
    """The same for all examples of a property."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_library", library)
        yield


@pytest.fixture
def compiled(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The public functions use this source's library."""
    monkeypatch.setattr(kernels, "_library", library)
    return library


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous", "strided"])
@needs_compiler
def test_what_the_library_does_not_take_goes_the_plain_way(
    compiled: Library, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, layout: str
) -> None:
    x = photo(7, 9, dtype)
    if layout == "contiguous":
        x = x.contiguous()
    elif layout == "strided":
        x = photo(7, 11, dtype)[:, :, :, :9]
    values = plain.pooled(x)
    gradient, of_values = -x + 0.5, torch.full_like(values, 2)
    expected = plain.unpooled(of_values, x, values)
    masked = gradient.clone()
    plain.mask_(masked, x)
    if taken := dtype != torch.float64 and layout == "channels_last":
        # The library does all of it.
        for name in ("pooled", "unpooled", "mask_"):
            monkeypatch.delattr(plain, name)
    assert compiled.takes(x) == taken
    assert torch.equal(kernels.pooled(x), values)
    assert torch.equal(kernels.unpooled(of_values, x, values), expected)
    kernels.mask_(gradient, x)
    assert torch.equal(gradient, masked)


@needs_compiler
def test_maps_of_other_shapes_are_an_error(compiled: Library) -> None:
    x = photo(6, 6)
    for wrong in (photo(4, 6), photo(6, 4), photo(6, 6).to(torch.float32)):
        with pytest.raises(RuntimeError):
            kernels.mask_(wrong[:, :, :3], x)
        with pytest.raises(RuntimeError):
            kernels.unpooled(wrong, x, kernels.pooled(x))


@needs_compiler
def test_threads_do_not_change_the_result(compiled: Library) -> None:
    # Enough numbers for several threads and for several parts, the last of which is a short one.
    x = photo(39, 51)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            gradient = photo(39, 51) - 1
            kernels.mask_(gradient, x)
            values = kernels.pooled(x)
            results.append((gradient, values, kernels.unpooled(values, x, values)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@st.composite
def windows(draw: st.DrawFn, side: int) -> tuple[tuple[int, int], Window]:
    """Sizes of features, and a window of their places."""
    sizes = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    chosen = []
    for size in sizes:
        places = size // side if side else 2 * size
        start = draw(st.integers(0, places))
        chosen.append(slice(start, draw(st.integers(start, places))))
    return sizes, (chosen[0], chosen[1])


def seen_at_places(x: torch.Tensor, side: int) -> torch.Tensor:
    """What places see of features, by PyTorch's operators."""
    if side:
        return F.avg_pool2d(x, side)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@needs_compiler
@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([4, 2, 1, 0]), st.sampled_from([torch.bfloat16, torch.float32]))
def test_places_are_compared_as_by_pytorch(
    compiled_once: None, data: st.DataObject, side: int, dtype: torch.dtype
) -> None:
    channels = data.draw(st.sampled_from([3, 64, 67, 513]))
    (height, width), window = data.draw(windows(side))
    rows, columns = (each.stop - each.start for each in window)
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random).to(dtype).permute(2, 0, 1)[None]

    x, gradient = drawn(height, width, channels), drawn(height, width, channels)
    # A part of the channels of something wider.
    target = drawn(rows, columns, channels + 5)[:, 3 : 3 + channels]
    of_target, of_seen = torch.randn((2, 1, 1, rows, columns), generator=random)
    exact = x.double().requires_grad_()
    seen = exact if side == 1 else seen_at_places(exact, side) if rows * columns else None
    if seen is None:
        expected = torch.zeros_like(exact)
        of_window = exact.new_zeros((1, channels, rows, columns))
    else:
        of_window = seen[:, :, window[0], window[1]]
        of_places = (target.double() * of_target + of_window * of_seen).detach()
        (expected,) = torch.autograd.grad((of_window * of_places).sum(), exact)
    assert kernels.takes_places(x, target)
    product, square = kernels.place_sums(x, target, window, side)
    torch.testing.assert_close(
        product.double(), (of_window * target.double()).sum(1, True), rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(square.double(), of_window.square().sum(1, True), rtol=1e-5, atol=1e-4)
    before = gradient.double()
    kernels.add_place_gradient_(gradient, x, target, of_target, of_seen, window, side)
    # Rounded once, to the type's 8 or 24 bits.
    close = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-20
    torch.testing.assert_close(gradient.double(), before + expected, rtol=close, atol=1e-5)
    outside = expected == 0
    assert torch.equal(gradient[outside].double(), before[outside])


@needs_compiler
def test_places_outside_of_the_features_are_an_error(compiled: Library) -> None:
    x = photo(8, 8)
    target, of_places = photo(3, 2), torch.ones(1, 1, 3, 2)
    for window, side in (
        ((slice(0, 3), slice(0, 2)), 4),
        ((slice(-1, 2), slice(0, 2)), 1),
        ((slice(0, 2), slice(0, 2)), 2),
        ((slice(14, 17), slice(0, 2)), 0),
    ):
        with pytest.raises(ValueError, match="places"):
            kernels.place_sums(x, target, window, side)
        with pytest.raises(ValueError, match="places"):
            kernels.add_place_gradient_(x.clone(), x, target, of_places, of_places, window, side)
    for wrong in (photo(8, 6), x.contiguous(), x.float()):
        window = (slice(0, 3), slice(0, 2))
        with pytest.raises(ValueError, match="gradient"):
            kernels.add_place_gradient_(wrong, x, target, of_places, of_places, window, 1)


@needs_compiler
def test_a_library_that_cannot_be_used_is_refused(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LibraryError, match="not compiled"):
        Library(tmp_path / "none.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(LibraryError, match="cannot be loaded"):
        Library(tmp_path / "text.so")
    # Another OpenMP than PyTorch's, or none: a symbol is missing.
    source, other = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("void missing_symbol(void); void pooled_float32(void) { missing_symbol(); }")
    subprocess.run([COMPILER, "-shared", "-fPIC", source, "-o", other], check=True)
    with pytest.raises(LibraryError, match="missing_symbol"):
        Library(other)
    with monkeypatch.context() as patch:
        patch.setattr("impasto_server.engine.kernels.library.source_version", lambda: "another")
        with pytest.raises(LibraryError, match="another version"):
            Library(library.file)
    with monkeypatch.context() as patch:
        patch.setattr(plain, "pooled", lambda x: x[:, :, ::2, ::2])
        with pytest.raises(LibraryError, match="wrongly"):
            Library(library.file)


def test_without_a_library_pictures_are_painted_all_the_same() -> None:
    program = (
        "from impasto_server.engine import kernels; import torch;"
        "assert not kernels.loaded() and 'IMPASTO_KERNELS' in kernels.description();"
        "print(kernels.pooled(torch.ones(1, 3, 4, 6)).shape)"
    )
    environment = {**os.environ, "IMPASTO_KERNELS": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "torch.Size([1, 3, 2, 3])", done.stderr


@needs_compiler
def test_the_process_has_one_openmp(library: Library) -> None:
    program = (
        "from pathlib import Path; from impasto_server.engine.kernels.library import Library; import sys;"
        "Library(Path(sys.argv[1]));"
        "print(len({l.split()[-1] for l in open('/proc/self/maps') if 'omp' in l.split('/')[-1]}))"
    )
    command = [sys.executable, "-c", program, library.file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def script(folder: Path, name: str, text: str) -> str:
    """Writes a shell script that stands in for a compiler, and returns its path."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        ("no-compiler", "no C compiler"),
        ("'", "No closing quotation"),
        ("exit 3", "ended with 3"),
        ("echo x.c: \\303\\244 error: no; echo more; exit 1", r"error: no$"),
        ("exit 0", "wrote nothing"),
        # Ends at once, and leaves something that holds its output open.
        ("sleep 1000 & exit 0", "took more than 0.2 s"),
        ("sleep 1000", "took more than 0.2 s"),
    ],
)
def test_a_build_that_fails_says_why_and_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str, why: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(building, "TIME_LIMIT", 0.2 if "sleep" in compiler else 60)
    (target := tmp_path / "built" / "kernels.so").parent.mkdir()
    monkeypatch.setenv("CC", script(tmp_path, "cc", compiler) if " " in compiler else compiler)
    with pytest.raises(building.BuildError, match=why) as raised:
        building.build(target)
    assert [each.name for each in target.parent.iterdir()] == ["kernels.txt"]
    assert building.reason(target) == str(raised.value)
    with pytest.raises(LibraryError, match=r"not compiled .*installed: .*" + why):
        Library(target)


def test_a_build_elsewhere_than_on_linux_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(building.BuildError, match="Linux"):
        building.build(tmp_path / "kernels.so")


def test_a_build_that_cannot_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(building.BuildError, match="No such file"):
        building.build(tmp_path / "no-folder" / "kernels.so")
    (tmp_path / "file").touch()
    with pytest.raises(building.BuildError, match="Not a directory"):
        building.build(tmp_path / "file" / "kernels.so")


@needs_compiler
def test_an_empty_name_of_a_compiler_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "  ")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(building.BuildError, match="no C compiler: 'cc'"):
        building.build(tmp_path / "kernels.so")


@needs_compiler
def test_a_library_that_cannot_be_replaced_says_why(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = shutil.copy(library.file, tmp_path / "kernels.so")
    monkeypatch.setattr("impasto_server.engine.kernels.library.source_version", lambda: "another")
    building.remember("the disk is full", stale)
    with pytest.raises(LibraryError, match=r"another version; .* failed: the disk is full"):
        Library(stale)


@needs_compiler
@pytest.mark.parametrize("part", [0, 0.001, 0.1, 0.5, 0.999])
def test_a_library_that_was_cut_short_is_refused(library: Library, tmp_path: Path, part: float) -> None:
    data = library.file.read_bytes()
    (cut := tmp_path / "kernels.so").write_bytes(data[: int(part * len(data))])
    # Loading it would end the process.
    with pytest.raises(LibraryError, match="cut short"):
        Library(cut)


@needs_compiler
def test_a_compiler_without_function_versions_compiles_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = 'case "$*" in *HAS_CLONES*) echo "error: no target_clones"; exit 1;; esac'
    monkeypatch.setenv("CC", script(tmp_path, "old-cc", f'{refuse}\nexec {COMPILER} "$@"'))
    building.remember("of an earlier try", tmp_path / "kernels.so")
    building.build(tmp_path / "kernels.so", flags=("-Werror",))
    assert not building.reason(tmp_path / "kernels.so")
    x = photo(5, 7)
    assert torch.equal(Library(tmp_path / "kernels.so").pooled(x), plain.pooled(x))
