"""Method names that are not UTF-8 are tolerated, and other decoding errors are not affected."""

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


def test_all_other_decoding_errors_are_raised_as_usual() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["UnicodeDecodeError", "UnicodeEncodeError", "UnicodeDecodeError"]


def test_without_the_call_a_process_is_not_changed() -> None:
    async def run() -> None:
        with pytest.raises(UnicodeDecodeError):
            b"\xff".decode()

    asyncio.run(run())
