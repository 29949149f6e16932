"""``fleetalign``: one verb per step, and the verbs that people need around them.

``parser.VERBS`` lists them; ``options`` holds what each takes, ``verbs`` what it does, in modules of the same names.

Exit codes (contracts 7): 0 done · 1 a gate or check said no · 2 wrong usage or config · 3 bad input · 4 store or
network · 5 a bug. An error is one line on stderr: what, where, what to do; ``--verbose`` adds the traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from fleetalign.cli.parser import VERBS, parser
from fleetalign.errors import FleetalignError

BUG = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    verbose = "--verbose" in given
    try:
        options = parser().parse_args(given)
        return function_of(options)(options) or 0
    except FleetalignError as error:
        return _fail(error, error.exit_code, verbose)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("fleetalign: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except MemoryError as error:
        return _fail(error, BUG, verbose)
    except Exception as error:
        return _fail(error, BUG, verbose, bug=True)


def run() -> NoReturn:
    """The command ``fleetalign``: ``main``, and the end of its process."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    # Not sys.exit: an interpreter that is torn down while threads of native libraries (Arrow, ONNX Runtime) still wind
    # down aborts now and then, after all work is done.
    os._exit(code)


def function_of(options: argparse.Namespace) -> Callable[[argparse.Namespace], int | None]:
    """What does the verb: ``align_shard`` for ``align-shard``, ``mute_add`` for ``mute add``."""
    # Imported only now: a module of verbs loads pyarrow, which --help and a wrong option do not need.
    module = importlib.import_module(f"fleetalign.cli.verbs.{VERBS[options.verb].group}")
    words = [options.verb, *([options.word] if "word" in options else [])]
    return getattr(module, "_".join(words).replace("-", "_"))


def _fail(error: BaseException, code: int, verbose: bool, bug: bool = False) -> int:
    if verbose:
        traceback.print_exc()
    text = " ".join(str(error).split()) or type(error).__name__
    if bug:
        text = f"a bug: {type(error).__name__}: {text}; run again with --verbose and report the traceback"
    print(f"fleetalign: {text}", file=sys.stderr)
    return code
