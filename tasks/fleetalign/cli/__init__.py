"""``fleetalign``: the command line over the steps.

``parser.COMMANDS`` lists the commands; ``options`` declares what each takes, and the function of the same name in
``verbs`` reads the options, calls one function of the package and prints its result.

An error is one line on stderr: what, where, what to do (contracts 7); ``parser.EXIT_CODES`` lists the exit codes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from fleetalign.cli.output import logging_to_stderr
from fleetalign.cli.parser import COMMANDS, current_name, parser
from fleetalign.errors import FleetalignError

BUG = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = current_name(sys.argv[1:] if argv is None else argv)
    try:
        options = parser().parse_args(arguments)
        with logging_to_stderr(options):
            return function_of(options.command)(options) or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("fleetalign: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    except Exception as error:  # the one place that turns every error into a line and an exit code
        # Read from the arguments: parsing may be what failed.
        if any(re.fullmatch("--verbose|-v+", argument) for argument in arguments):
            traceback.print_exc()
        return _fail(error)


def run() -> NoReturn:
    """Run the command ``fleetalign`` and end the process."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    # Not sys.exit: an interpreter that is torn down while threads of native libraries (Arrow, ONNX Runtime) still wind
    # down aborts now and then, after all work is done.
    os._exit(code)


def function_of(command: str) -> Callable[[argparse.Namespace], int | None]:
    """Find the function of a command.

    It is ``align_shard`` for ``align-shard`` and ``mute_add`` for ``mute add``.
    """
    # Imported only now: a module of verbs loads pyarrow, which --help and a wrong option do not need.
    module = importlib.import_module(f"fleetalign.cli.verbs.{COMMANDS[command].module}")
    function: Callable[[argparse.Namespace], int | None] = getattr(module, re.sub("[ -]", "_", command))
    return function


def _fail(error: Exception) -> int:
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, FleetalignError | MemoryError):
        text = f"a bug: {type(error).__name__}: {text}; run again with --verbose and report the traceback"
    print(f"fleetalign: {text}", file=sys.stderr)
    return error.exit_code if isinstance(error, FleetalignError) else BUG
