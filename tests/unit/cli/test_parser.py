"""The command line's parser: what it accepts has a function, what it offers is described, earlier names still work."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fleetalign.cli import function_of
from fleetalign.cli.parser import COMMANDS, EARLIER_NAMES, GROUPS, current_name, parser
from fleetalign.cli.results import RESULTS
from fleetalign.errors import UsageError

RIDDLES = re.compile(r"\b(say|says|said|tell|told|nobody|somebody|nothing|anew)\b")


def parsed(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(current_name(arguments))


def actions(whole: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from actions(child)
        else:
            yield action


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_function_and_its_result(command: str) -> None:
    assert function_of(command).__name__ == re.sub("[ -]", "_", command)
    assert RESULTS[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_is_accepted_by_its_command(command: str) -> None:
    assert parsed(*shlex.split(COMMANDS[command].example)).command == command


def test_help_is_plain_and_every_option_has_one() -> None:
    texts = [*GROUPS.values(), *(c.summary for c in COMMANDS.values())]
    assert all(text[0].islower() and not text.endswith(".") and len(text) <= 90 for text in texts)
    options = list(actions(parser()))
    assert not [action.option_strings or action.dest for action in options if not action.help]
    assert not [text for text in (*texts, *(str(action.help) for action in options)) if RIDDLES.search(text)]


@pytest.mark.parametrize(("name", "command"), EARLIER_NAMES.items())
def test_an_earlier_name_is_accepted_and_listed_nowhere(
    name: str, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert current_name([name, "--store", "x"]) == [*command, "--store", "x"]
    assert " ".join(command) in COMMANDS
    with pytest.raises(SystemExit):
        parsed("--help")
    assert not re.search(rf"^ +{name}\b", capsys.readouterr().out, re.MULTILINE)


def test_release_alone_is_the_build_step_as_before() -> None:
    for arguments in ((), ("--plan", "@out/plan.json", "--receipt", "r.json"), ("-v",)):
        assert parsed("release", *arguments).command == "release build"
    built = parsed("release", "--store", "s", "--plan", "p")
    assert (built.store, built.plan) == ("s", "p")
    assert parsed("release", "list", "--store", "s").command == "release list"
    with pytest.raises(UsageError, match="release: argument COMMAND: invalid choice: 'lsit'"):
        parsed("release", "lsit")


def test_the_help_of_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("release", "--help")
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert listed == [name.removeprefix("release ") for name in COMMANDS if name.startswith("release ")]


def test_help_needs_no_heavy_library() -> None:
    script = "import sys; from fleetalign.cli import main; main(['score', '--help'])"
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n{script}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "--telemetry" in done.stdout
    assert not {"numpy", "pyarrow", "onnxruntime", "torch", "boto3"} & set(done.stderr.split())
