"""Open calls: how many there may be, and how long they may take."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from impasto_server.contract.errors import CallError, reason_of
from impasto_server.gateway import open_calls
from impasto_server.gateway.open_calls import MAX_CALLS_OF_LINK, MAX_LINKED_CALLS, OpenCall, OpenCalls


def refused_by_link(calls: OpenCalls, tenant: str, link: str) -> str:
    with pytest.raises(CallError) as caught, calls.entered_by_link(tenant, link, None):
        pass
    assert caught.value.status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert reason_of(caught.value.status) == "TOO_MANY_CALLS"
    return caught.value.status.message


def test_the_downloads_of_links_are_counted_apart_from_their_owners_streams() -> None:
    async def main() -> None:
        calls = OpenCalls(1, lambda right: None)
        own = calls.entered("anna", right=None, seconds=60.0, long=True)
        with contextlib.ExitStack() as stack:
            for number in range(MAX_LINKED_CALLS):
                stack.enter_context(
                    calls.entered_by_link("anna", f"link {number // MAX_CALLS_OF_LINK}", None)
                )
            told = refused_by_link(calls, "anna", "another link")
            assert told == "256 pictures of links are being loaded, the maximum; try again soon"
            with own, calls.entered_by_link("ben", "his link", None):
                assert calls.open_streams == MAX_LINKED_CALLS + 2
        assert calls.open_streams == 0
        with calls.entered_by_link("anna", "another link", None):
            pass

    asyncio.run(main())


def test_one_link_is_loaded_by_a_few_at_a_time() -> None:
    async def main() -> None:
        calls = OpenCalls(1, lambda right: None)
        with contextlib.ExitStack() as stack:
            for _ in range(MAX_CALLS_OF_LINK):
                stack.enter_context(calls.entered_by_link("anna", "link", None))
            told = refused_by_link(calls, "anna", "link")
            assert told == "the link's picture is being loaded 16 times, the maximum; try again soon"
            # The refused one counts nowhere.
            assert calls.open_streams == MAX_CALLS_OF_LINK
            with calls.entered_by_link("anna", "another link", None):
                pass

    asyncio.run(main())


def test_a_links_reader_who_takes_nothing_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_calls, "LINKED_SECONDS", 0.0)
    monkeypatch.setattr(open_calls, "CHECK_SECONDS", 0.01)

    async def stalled(calls: OpenCalls, link: str, given: float, entered: list[OpenCall]) -> None:
        with calls.entered_by_link("anna", link, None) as call:
            entered.append(call)
            call.give(given)
            await asyncio.Event().wait()

    async def main() -> None:
        calls = OpenCalls(1, lambda right: None)
        entered: list[OpenCall] = []
        takes = asyncio.create_task(stalled(calls, "link", 3600.0, entered))
        await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(stalled(calls, "link", 0.0, entered))
        ending = entered[1].ending
        assert ending is not None
        assert ending.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert ending.message.endswith("call again to go on")
        assert entered[0].ending is None
        takes.cancel()

    asyncio.run(main())
