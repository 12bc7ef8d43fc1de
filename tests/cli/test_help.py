from __future__ import annotations

import shlex
import subprocess
import sys

import click
import pytest

from tests.cli.console import Call
from tuner import __version__
from tuner.cli import cli

COMMANDS = sorted(cli.commands)


def test_the_commands_are_those_of_the_readme(call: Call) -> None:
    said = call("--help")
    assert said.code == 0
    names = "tune batch measure trace verify lint calibrate record replay show best export check "
    names += "lookup devices spaces doctor"
    assert sorted(names.split()) == COMMANDS
    assert all(f"\n  {name} " in said.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help_with_an_example(call: Call, name: str, option: str) -> None:
    said = call(name, option)
    assert (said.code, said.err) == (0, "")
    assert f"Example: nki-tuner {name} " in said.out
    assert said.out.startswith(f"Usage: nki-tuner {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_is_one_that_the_command_takes(name: str) -> None:
    command = cli.commands[name]
    words = shlex.split((command.epilog or "").removeprefix("Example: "))
    assert words[:2] == ["nki-tuner", name]
    context = command.make_context(name, words[2:])
    assert context.params


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    options = [p for p in cli.commands[name].params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_options_of_one_backend_have_a_section_of_their_own(call: Call) -> None:
    _, simulator, neuron = call("tune", "--help").out.split("\n\n")[-4:-1]
    assert simulator.startswith("Simulator:\n  --policy ")
    assert neuron.startswith("Neuron backend (--backend neuron):\n  --nki-python ")
    assert neuron.count("\n  --") == 6


def test_without_a_command_there_is_help(call: Call) -> None:
    said = call()
    assert (said.code, said.err) == (0, "")
    assert said.out == call("--help").out


def test_version(call: Call) -> None:
    assert call("--version").out == f"nki-tuner, version {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["tune", "--help"], ["tune"], ["lookup", "-h"]])
def test_help_loads_no_heavy_package(words: list[str]) -> None:
    code = (
        "import sys\nfrom tuner.cli import main\n"
        f"try:\n    main({words})\nexcept SystemExit:\n    pass\n"
        "heavy = {'ray', 'optuna', 'numba', 'numpy', 'ml_dtypes', 'rich', 'msgspec', 'sqlite3'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == ""
