"""How a command ends: exit code, one line for an error, and what goes to which stream."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetalign import cli
from fleetalign.cli.output import bar, show
from fleetalign.errors import BadInput, Conflict, FleetalignError, GateRefused, NotReproducible, UsageError
from fleetalign.progress import Bar

Run = Callable[..., tuple[int, str, str]]
LOG = logging.getLogger("fleetalign.some.module")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``fleetalign gc`` with another function behind it: its exit code, stdout and stderr."""

    def run(function: Callable[[argparse.Namespace], int | None], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(cli, "function_of", lambda command: function)
        code = cli.main(["gc", *arguments])
        return code, *capsys.readouterr()

    return run


def raising(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def function(options: argparse.Namespace) -> None:
        raise error

    return function


def speaking(options: argparse.Namespace) -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        LOG.log(level, "at %d", level)
    with bar(options) as progress:
        progress(3, 3, "stage")
    show(options, {"warnings": ["careful"], "b": 1, "a": None}, "a text")


@pytest.mark.parametrize("kind", [GateRefused, UsageError, BadInput, Conflict, NotReproducible])
def test_an_error_is_one_line_and_its_own_exit_code(run: Run, kind: type[FleetalignError]) -> None:
    code, out, err = run(raising(kind("store x:\n  went wrong; do this")))
    assert (code, out, err) == (kind.exit_code, "", "fleetalign: store x: went wrong; do this\n")


@pytest.mark.parametrize("option", ["-v", "-vv", "--verbose"])
def test_verbose_shows_the_traceback(run: Run, option: str) -> None:
    code, _, err = run(raising(BadInput("bad")), option)
    assert code == 3
    assert err.startswith("Traceback") and err.endswith("fleetalign: bad\n")


def test_a_wrong_option_shows_its_traceback_too(run: Run) -> None:
    code, _, err = run(raising(BadInput("bad")), "--nonsense", "-v")
    assert code == 2
    assert err.startswith("Traceback") and "--nonsense" in err


def test_a_bug_asks_for_the_traceback_and_lack_of_memory_does_not(run: Run) -> None:
    code, _, err = run(raising(KeyError("k")))
    assert (code, err) == (5, "fleetalign: a bug: KeyError: 'k'; run again with --verbose and report the traceback\n")
    assert run(raising(MemoryError())) == (5, "", "fleetalign: MemoryError\n")


def test_an_interrupted_command_says_how_to_continue(run: Run) -> None:
    assert run(raising(KeyboardInterrupt())) == (
        130, "", "fleetalign: interrupted; run the same command again to continue\n",
    )  # fmt: skip


def test_the_exit_code_of_a_command_that_returns_one(run: Run) -> None:
    assert run(lambda options: 3)[0] == 3
    assert run(lambda options: None)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "levels"),
    [
        ((), ["warning", "error"]),
        (("-v",), ["info", "warning", "error"]),
        (("-vv",), ["debug", "info", "warning", "error"]),
        (("--quiet",), ["error"]),
    ],
)
def test_log_records_and_progress_go_to_stderr(run: Run, arguments: tuple[str, ...], levels: list[str]) -> None:
    code, out, err = run(speaking, *arguments)
    assert (code, out) == (0, "a text\n")
    lines = err.splitlines()
    assert [line.split(": ")[1] for line in lines if ": at " in line] == levels
    assert ("fleetalign: warning: careful" in lines) is ("warning" in levels)
    assert any(line.startswith("stage: 3 in ") for line in lines) is (
        "-q" not in arguments and "--quiet" not in arguments
    )


def test_json_is_one_document_on_stdout(run: Run) -> None:
    _, out, err = run(speaking, "--output", "json")
    assert json.loads(out) == {"warnings": ["careful"], "b": 1, "a": None}
    assert "stage" in err and "careful" in err


def test_a_result_without_a_text_is_json_and_an_empty_text_prints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = argparse.Namespace(output="text", receipt=str(tmp_path / "new" / "receipt.json"))
    show(options, {"b": 1, "a": 2})
    out = capsys.readouterr().out
    assert out == '{\n  "a": 2,\n  "b": 1\n}\n'
    assert (tmp_path / "new" / "receipt.json").read_text() == out
    show(argparse.Namespace(output="text"), {"releases": []}, "")
    assert capsys.readouterr().out == ""


def test_logging_is_as_before_when_a_command_has_ended(run: Run) -> None:
    logger = logging.getLogger("fleetalign")
    before = (logger.level, logger.propagate, list(logger.handlers))
    run(speaking, "-vv")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_a_bar_is_one_line_per_stage_and_can_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar() as progress:
        for done in range(3):
            progress(done, 2, "read")
        progress(2, 2, "read")
        progress(1, 1, "write")
    assert [line.split(" in ")[0] for line in capsys.readouterr().err.splitlines()] == ["read: 2", "write: 1"]
    with Bar(quiet=True) as silent:
        silent(1, 1, "read")
    assert capsys.readouterr().err == ""
