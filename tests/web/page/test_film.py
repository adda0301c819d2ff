"""The film of a painting."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from support.browser import PageServer, page_server, serious_faults
from support.samples import coded, photo

OpenPage = Callable[..., Any]


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with page_server(tmp_path, "--mock-evaluation-time", "0.02s") as started:
        yield started


def test_a_film_is_kept_played_and_saved(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url + "#/jobs")
    page.get_by_role("heading", name="Paintings").wait_for()
    image = pb.Image(encoded=coded(photo(320, 240)))
    spec = pb.JobSpec(content=image, styles=[pb.Style(image=image)], recipe=pb.Recipe(evaluations=100))
    preview = pb.PreviewOptions()
    preview.min_interval.FromMilliseconds(100)
    with grpc.insecure_channel(server.address) as channel:
        stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
        name = stub.CreateJob(pb.CreateJobRequest(spec=spec, title="Film", preview=preview)).name
    card = page.locator(f'[data-job="{name}"]')
    page.locator(f'[data-job="{name}"][data-state="JOB_STATE_SUCCEEDED"]').wait_for()
    # The film outlives the page.
    page.reload()
    card.get_by_role("button").click()
    page.get_by_role("menuitem", name="Film").click()
    dialog = page.locator("dialog.film")
    page.wait_for_function("document.querySelector('dialog.film input')?.max >= 3")
    page.wait_for_function("document.querySelector('dialog.film input')?.value > 0")
    assert not serious_faults(page)
    dialog.get_by_role("slider").focus()
    page.keyboard.press("Home")
    dialog.get_by_role("button", name="Play").wait_for()
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Save as video").click()
    assert download.value.suggested_filename == "Film.webm"
    assert Path(download.value.path()).read_bytes().startswith(b"\x1a\x45\xdf\xa3")


KEEP = """async ([job, first, count, bytes]) => {
    const store = await import(new URL("js/film_store.js", document.baseURI));
    for (let sequence = first; sequence < first + count; sequence += 1) {
        const blob = new Blob([new Uint8Array(bytes)]);
        await store.keepFrame(job, { sequence, evaluation: sequence, blob });
    }
    return (await store.framesOf(job)).map((frame) => frame.sequence);
}"""


def test_a_film_is_thinned_evenly(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    kept = page.evaluate(KEEP, ["jobs/long", 0, 500, 10])
    assert 30 <= len(kept) <= 60
    gaps = {later - earlier for earlier, later in itertools.pairwise(kept)}
    assert gaps <= {8, 16}
    assert kept[0] == 0
    assert kept[-1] >= 480


def test_the_oldest_films_make_room(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    for number in range(7):
        page.evaluate(KEEP, [f"jobs/{number}", 0, 5, 2_000_000])
    assert not page.evaluate(KEEP, ["jobs/0", 0, 0, 0])
    assert not page.evaluate(KEEP, ["jobs/1", 0, 0, 0])
    assert len(page.evaluate(KEEP, ["jobs/2", 0, 0, 0])) == 5
    assert len(page.evaluate(KEEP, ["jobs/6", 0, 0, 0])) == 5
