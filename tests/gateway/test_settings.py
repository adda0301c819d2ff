from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto_server.fleet.on_ray.ask import Ask
from impasto_server.gateway.kinds import ASK, DURATION, SIZE
from impasto_server.gateway.settings import (
    Settings,
    SettingsError,
    example_file,
    fields,
    flag,
    gather,
    table,
    variable,
)

ROOT = Path(__file__).parents[2]


def test_an_option_takes_precedence_over_a_variable_and_a_variable_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "impasto.toml"
    file.write_text('host = "a"\ndevice = "cpu"\nmax-jobs = 5\nkeep_results_for = "2h"\n')
    settings = gather(
        {"host": "c", "port": None}, {"IMPASTO_HOST": "b", "IMPASTO_DEVICE": "mps", "IMPASTO_PORT": ""}, file
    )
    assert (settings.host, settings.device, settings.max_jobs) == ("c", "mps", 5)
    assert settings.keep_results_for == 7200
    assert settings.port is None
    assert gather({}, {}) == Settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("colour = 1", "colour is not a setting"),
        ("color = 1\ncolour = 1", "color, colour are not settings"),
        ("private = true", "private is not a setting"),
        ("max_jobs = 0", "of at least 1"),
        ("max_jobs = true", "whole number"),
        ('max_jobs = "many"', "whole number"),
        ("host = 3", "give an address"),
        ('host = ""', "host is empty; give an address"),
        ('data_dir = ""', "data_dir is empty; give a path"),
        ("weights = false", "give vgg19, builtin or a file"),
        ('log_level = "loud"', "debug, info, warning, error"),
        ('drain = "soon"', "give a time with its unit, such as 7d or 30s"),
        ("drain = 30", "drain is 30; give a time with its unit, such as 7d or 30s"),
        ("drain = 0.5", "drain is 0.5; give a time with its unit"),
        ("drain = false", "give a time with its unit"),
        ('drain = "-5s"', "give a time with its unit"),
        ('drain = "1.2.3s"', "give a time with its unit"),
        ('drain = "11min"', "10min"),
        ('memory = "lots"', "give a size with its unit, such as 500MiB or 20GiB"),
        ("memory = 1000000000", "memory is 1000000000; give a size with its unit, such as 500MiB or 20GiB"),
        (f'memory = "{"9" * 400}GiB"', "give a size with its unit"),
        ('memory = "4096KiB"', "give 64MiB or more"),
        ('keep_results_for = "0s"', "give 1s to"),
        ("max_jobs = 3\nmax-jobs = 4", "max-jobs is set twice"),
        ('insecure = "perhaps"', "true or false"),
        ("host =", "is not valid TOML at its end; give each setting once, on a line"),
        ("port = 1\nport = 2\n\nhost = 3", "is not valid TOML at line 2, column 9; give each setting once"),
        ("\x89PNG\n", "is not valid TOML at line 1"),
        ("host = " + 100_000 * "[", "is not valid TOML"),
    ],
    ids=lambda value: value[:40],
)
def test_an_invalid_setting_is_refused_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "impasto.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        gather({}, {}, file)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    with pytest.raises(SettingsError, match=f"^--config {file} cannot be read"):
        gather({}, {}, file)


def test_a_file_that_is_not_utf_8_is_refused_in_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes('styles_dir = "/für"'.encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        gather({}, {}, file)
    assert str(caught.value) == f"--config {file} is not text in UTF-8; save it as UTF-8"


def test_an_invalid_variable_is_refused_with_its_name() -> None:
    with pytest.raises(SettingsError, match="IMPASTO_PORT is '99999'; give a whole number from 0 to 65535"):
        gather({}, {"IMPASTO_PORT": "99999"})


TIMES_AND_SIZES = [
    f for f in fields() if f.metadata["kind"].metavar in ("TIME", "SIZE") and not f.metadata["hidden"]
]


@pytest.mark.parametrize("field", TIMES_AND_SIZES, ids=lambda field: field.name)
@pytest.mark.parametrize("number", ["7", "0.5", "1000000000"])
def test_a_time_or_size_without_a_unit_is_refused(
    tmp_path: Path, field: dataclasses.Field[Any], number: str
) -> None:
    file = tmp_path / "impasto.toml"
    unit = "time" if field.metadata["kind"].metavar == "TIME" else "size"
    for text in (number, f'"{number}"'):
        file.write_text(f"{field.name} = {text}")
        with pytest.raises(SettingsError, match=f"{field.name} is .*; give a {unit} with its unit, such as"):
            gather({}, {}, file)
    for where, flags, environment in (
        (flag(field), {field.name: number}, {}),
        (variable(field), {}, {variable(field): number}),
    ):
        with pytest.raises(SettingsError) as caught:
            gather(flags, environment)
        assert str(caught.value).startswith(f"{where} is '{number}'; give a {unit} with its unit, such as ")


def test_the_previous_test_covers_all_times_and_sizes() -> None:
    amounts = {"memory", "max_stored_bytes_per_tenant", "keep_results_for", "keep_bytes"}
    amounts |= {"checkpoint_interval", "heartbeat_interval", "max_deadline", "drain"}
    assert amounts <= {field.name for field in TIMES_AND_SIZES}


@pytest.mark.parametrize("text", ["0", '"0"', "0.0", '" 0 "'])
@pytest.mark.parametrize("name", ["drain", "max_stored_bytes_per_tenant"])
def test_zero_needs_no_unit(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / "impasto.toml"
    file.write_text(f"{name} = {text}")
    assert getattr(gather({}, {}, file), name) == 0


@pytest.mark.parametrize(
    ("text", "bytes_"), [("1B", 1), ("5 kB", 5000), ("1.5KiB", 1536), ("300000b", 300_000), ("2TiB", 2 << 40)]
)
def test_sizes_can_be_given_in_each_unit(text: str, bytes_: int) -> None:
    assert SIZE.read(text) == bytes_


def test_the_command_refuses_a_time_without_a_unit_and_says_what_to_write() -> None:
    command = [sys.executable, "-m", "impasto_server", "serve", "--keep-results-for", "7"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--keep-results-for is '7'; give a time with its unit, such as 7d or 30s" in ended.stderr


@given(st.integers(0, 10**10))
def test_times_are_read_as_they_are_shown(milliseconds: int) -> None:
    assert DURATION.read(DURATION.show(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.integers(0, 1 << 50))
def test_sizes_are_read_as_they_are_shown(size: int) -> None:
    assert SIZE.read(SIZE.show(size)) == size


def test_the_readme_has_the_current_table_of_settings() -> None:
    assert table() in (ROOT / "server" / "README.md").read_text(encoding="utf-8")


def test_the_example_file_is_current_and_each_of_its_lines_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "server" / "impasto.toml").read_text(encoding="utf-8")
    assert text == example_file()
    lines = [line.removeprefix("# ") for line in text.splitlines() if re.match(r"# \w+ = ", line)]
    assert [line.split(" = ")[0] for line in lines] == [f.name for f in fields() if not f.metadata["hidden"]]
    file = tmp_path / "all.toml"
    file.write_text("\n".join(lines))
    settings = gather({}, {}, file)
    for field in fields():
        if not field.metadata["example"]:
            assert getattr(settings, field.name) == field.default, field.name


def test_a_private_server_takes_public_settings_from_options_only(tmp_path: Path) -> None:
    file = tmp_path / "impasto.toml"
    file.write_text('tls_cert = "/c.pem"\nmetrics_port = 9464\nmax_resident = 2\n')
    environment = {"IMPASTO_HOST": "0.0.0.0", "IMPASTO_TLS_KEY": "/k.pem", "IMPASTO_DEVICE": "cpu"}
    private = gather({"private": True, "metrics_port": "0"}, environment, file)
    assert (private.host, private.tls_cert, private.tls_key) == ("127.0.0.1", None, None)
    assert (private.metrics_port, private.max_resident, private.device) == (0, 2, "cpu")
    other = gather({}, environment, file)
    assert (other.host, other.tls_cert, other.metrics_port) == ("0.0.0.0", Path("/c.pem"), 9464)


def test_the_command_lists_the_settings() -> None:
    command = [sys.executable, "-m", "impasto_server", "settings"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == table()


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("auto", None),
        ("gpu=1", Ask(gpu=1.0)),
        ("gpu=0.25", Ask(gpu=0.25)),
        ("cpu=4", Ask(cpu=4.0)),
        (" gpu=1, cpu=2 ,memory=8GiB", Ask(gpu=1.0, cpu=2.0, memory=8 << 30)),
        ("cpu=1,accelerator_type:A100=0.001", Ask(cpu=1.0, custom={"accelerator_type:A100": 0.001})),
    ],
)
def test_what_a_worker_asks_for_is_read_and_shown_alike(text: str, ask: Ask | None) -> None:
    assert ASK.read(text) == ask
    assert ASK.read(ASK.show(ask)) == ask


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "give amounts such as gpu=1,cpu=4"),
        ("gpu", "give amounts"),
        ("gpu=one", "give amounts"),
        ("cpu=1,CPU=2", "give amounts"),
        ("cpu=1,memory=8", "give a size with its unit"),
        ("gpu=0", "cannot be asked for"),
        ("cpu=-1", "cannot be asked for"),
        ("cpu=1.5", "give a whole number, or a share of 1"),
        ("cpu=nan", "cannot be asked for"),
        ("gpu=2", "a worker paints on one GPU"),
        ("memory=8GiB", "a worker paints on a GPU or on cores"),
        ("a100=1", "a worker paints on a GPU or on cores"),
    ],
)
def test_what_no_machine_can_be_asked_for_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)):
        gather({"ray_worker": text}, {})


@pytest.mark.parametrize(
    "address", ["auto", "local", "head:6379", "192.0.2.1:6379", "ray://head.x:10001", "[::1]:1"]
)
def test_addresses_of_clusters_are_read(address: str) -> None:
    assert gather({"ray": address}, {}).ray == address


@pytest.mark.parametrize(
    "address", ["", "head", "http://head:1", "ray://", "ray://head", "head:99999999", "a b:1"]
)
def test_other_addresses_of_clusters_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="give auto, local, HOST:PORT or ray://HOST:PORT"):
        gather({"ray": address}, {})
