"""Errors about a server that cannot be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import fake_server
from support.certificates import Authority
from support.command_line import Impasto

PAINT = ("stylize", "content.png", "style.png", "-o", "out.png", "--server")


@pytest.mark.parametrize(
    ("mutual", "options", "words"),
    [
        (False, ["--tls"], "as --ca FILE"),
        (False, [], "give --tls, or --ca FILE"),
        (True, ["--ca"], "give --cert FILE and --key FILE, and --ca with them"),
    ],
)
def test_an_error_of_a_connection_names_options(
    impasto: Impasto, tmp_path: Path, mutual: bool, options: list[str], words: str
) -> None:
    authority = Authority(tmp_path)
    credentials = authority.issue("server").for_server(authority.cert if mutual else None)
    with fake_server.serving(credentials=credentials) as fake:
        outcome = impasto(*PAINT, fake.address, *options, *([authority.cert] if "--ca" in options else []))
    assert outcome.code == 3
    assert words in outcome.err
    assert "Tls(" not in outcome.err
    assert "impasto-server serve" not in outcome.err


def test_tls_that_the_server_does_not_speak(impasto: Impasto) -> None:
    with fake_server.serving() as fake:
        outcome = impasto(*PAINT, fake.address, "--tls")
    assert outcome.code == 3
    assert "speaks no TLS; leave out --tls, --ca, --cert and --key" in outcome.err


def test_a_misspelt_host(impasto: Impasto) -> None:
    outcome = impasto(*PAINT, "no-such-host.invalid")
    assert (outcome.code, outcome.out) == (3, "")
    assert "no-such-host.invalid cannot be found" in outcome.err
