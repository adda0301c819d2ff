from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from impasto_server.gateway.tokens import Tenant, Tokens, TokensError


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.json")


def test_a_token_identifies_its_tenant_and_is_not_stored(tokens: Tokens) -> None:
    token = tokens.add("studio", weight=2.5)
    assert tokens.tenant_of(token) == Tenant("studio", 2.5)
    assert tokens.tenant_of(token + "x") is None
    assert tokens.tenant_of("") is None
    assert token not in tokens.path.read_text()
    assert tokens.path.stat().st_mode & 0o777 == 0o600
    assert len(token) >= 43
    assert tokens.weight_of("studio") == 2.5
    assert tokens.weight_of("nobody") == 1


def test_another_process_sees_what_is_added_and_removed(tokens: Tokens) -> None:
    other = Tokens(tokens.path)
    token = tokens.add("a")
    assert [tenant.name for tenant, _ in other.tenants()] == ["a"]
    assert other.tenant_of(token) == Tenant("a")
    other.remove("a")
    assert tokens.tenants() == []
    assert tokens.tenant_of(token) is None


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "-a", "a/b", "ä"])
def test_invalid_names_are_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(TokensError, match="is not a valid name"):
        tokens.add(name)


def test_errors_say_what_is_wrong(tokens: Tokens) -> None:
    tokens.add("a")
    with pytest.raises(TokensError, match="already has a token"):
        tokens.add("a")
    with pytest.raises(TokensError, match="above 0"):
        tokens.add("b", weight=0)
    with pytest.raises(TokensError, match="'c' has no token"):
        tokens.remove("c")
    tokens.path.write_text("[]")
    with pytest.raises(TokensError, match="is not a file of tokens"):
        tokens.tenants()


@pytest.mark.parametrize(
    ("field", "value"),
    [("weight", 0), ("weight", float("nan")), ("name", ""), ("sha256", "ä" * 64), ("sha256", "")],
)
def test_a_file_with_an_invalid_entry_is_refused(tokens: Tokens, field: str, value: object) -> None:
    token = tokens.add("a")
    read = json.loads(tokens.path.read_text())
    read["tokens"][0][field] = value
    tokens.path.write_text(json.dumps(read))
    other = Tokens(tokens.path)
    for _ in range(2):
        with pytest.raises(TokensError, match="is not a file of tokens"):
            other.tenant_of(token)


def test_no_token_is_lost_when_many_are_made_at_the_same_time(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = [f"t{number}" for number in range(40)]
        made = list(pool.map(lambda name: Tokens(tmp_path / "t.json").add(name), names))
    tokens = Tokens(tmp_path / "t.json")
    assert [tokens.tenant_of(token) for token in made] == [Tenant(name) for name in names]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_the_folder_can_read_a_file_that_root_writes(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    Tokens(tmp_path / "t.json").add("a")
    found = (tmp_path / "t.json").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12345, 0o600)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "impasto_server", "token", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_adds_lists_and_removes_tokens(tmp_path: Path) -> None:
    file = ("--tokens-file", str(tmp_path / "t.json"))
    added = run("add", "studio", "--weight", "3", *file)
    assert added.returncode == 0
    assert Tokens(tmp_path / "t.json").tenant_of(added.stdout.strip()) == Tenant("studio", 3)
    assert "studio" in run("list", *file).stdout
    assert run("remove", "studio", *file).returncode == 0
    assert json.loads((tmp_path / "t.json").read_text()) == {"tokens": []}
    again = run("remove", "studio", *file)
    assert again.returncode == 2
    assert again.stderr.startswith("impasto-server: 'studio' has no token")
