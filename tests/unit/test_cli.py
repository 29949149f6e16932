"""The command line's parser: it knows a function for everything it accepts, and starts without what the work needs."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from fleetalign.cli import function_of
from fleetalign.cli.parser import VERBS, parser


def _words(verb: str) -> list[str | None]:
    """What follows ``verb`` where it has verbs of its own, else None alone."""
    alone = argparse.ArgumentParser()
    VERBS[verb].options(alone)
    own = [action for action in alone._actions if isinstance(action, argparse._SubParsersAction)]
    return list(own[0].choices) if own else [None]


COMMANDS = [(verb, word) for verb in VERBS for word in _words(verb)]


@pytest.mark.parametrize(("verb", "word"), COMMANDS)
def test_every_command_has_its_function(verb: str, word: str | None):
    options = argparse.Namespace(verb=verb) if word is None else argparse.Namespace(verb=verb, word=word)
    assert function_of(options).__name__ == "_".join(filter(None, (verb, word))).replace("-", "_")


def test_what_is_parsed_names_its_function():
    parsed = parser().parse_args(["mute", "lift", "3f2a", "--why", "moved"])
    assert function_of(parsed).__name__ == "mute_lift"


def test_help_needs_no_heavy_library():
    script = "import sys; from fleetalign.cli import main; main(['score', '--help'])"
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n{script}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "--telemetry" in done.stdout
    assert not {"numpy", "pyarrow", "onnxruntime", "torch", "boto3"} & set(done.stderr.split())
