"""Tabs in the background: a browser has six connections to a server, for all of its tabs together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from impasto.v1 import admin_pb2, admin_pb2_grpc, style_transfer_pb2_grpc
from impasto.v1 import style_transfer_pb2 as pb
from support.browser import page_server
from support.samples import coded, photo
from support.server_process import until

OpenPage = Callable[..., Any]

TABS = 8
IMAGE = pb.Image(encoded=coded(photo(64, 48)))


def put(page: Any, *, away: bool) -> None:
    """Has a page believe that its tab is in the background. (A headless browser shows all tabs.)"""
    page.evaluate(
        """(away) => {
            Object.defineProperty(document, "hidden", { get: () => away, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        away,
    )


def test_tabs_in_the_background_keep_no_stream_and_catch_up(tmp_path: Path, open_page: OpenPage) -> None:
    with page_server(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        admin = admin_pb2_grpc.AdminStub(channel)

        def streams() -> int:
            return int(admin.GetStatus(admin_pb2.GetStatusRequest()).open_streams)

        page = None
        for tab in range(TABS):
            page = open_page(server.url + ("#/admin" if tab % 2 else "#/jobs"))
            until(streams, lambda count: count > 0)
            if tab < TABS - 1:
                put(page, away=True)
                until(streams, lambda count: count == 0)
        # The last tab still works, and brings up to date what it missed.
        put(page, away=True)
        until(streams, lambda count: count == 0)
        recipe = pb.Recipe(evaluations=3, longest_side=64)
        spec = pb.JobSpec(content=IMAGE, styles=[pb.Style(image=IMAGE)], recipe=recipe)
        stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
        job = stub.CreateJob(pb.CreateJobRequest(spec=spec, title="Made meanwhile"))
        page.evaluate("location.hash = '#/jobs'")
        put(page, away=False)
        page.locator(f'[data-job="{job.name}"]').wait_for()
