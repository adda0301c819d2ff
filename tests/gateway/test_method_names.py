"""Names that are no text: what is made of them, and that nothing else is."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio
from impasto_server.gateway.method_names import tolerate_broken_names
tolerate_broken_names()
tolerate_broken_names()

def fails(work):
    try:
        work()
    except UnicodeError as error:
        return type(error).__name__
    return "no error"

async def main():
    loop = asyncio.get_running_loop()
    print(fails(lambda: b"/\\xff".decode()), fails(lambda: "\\ud800".encode()))
    done = loop.create_future()
    loop.call_soon(lambda: done.set_result(fails(lambda: bytes.decode(b"/\\xff"))))
    print(await done)

asyncio.run(main())
"""


def test_everything_else_that_cannot_be_decoded_is_the_error_that_it_was() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["UnicodeDecodeError", "UnicodeEncodeError", "UnicodeDecodeError"]


def test_this_process_is_left_alone() -> None:
    async def run() -> None:
        with pytest.raises(UnicodeDecodeError):
            b"\xff".decode()

    asyncio.run(run())
