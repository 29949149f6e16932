"""Render docs/cli.md from the parser of the command line. ``make docs`` writes it, a test compares it.

python docs/render_cli.py > docs/cli.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from fleetalign.cli.parser import COMMANDS, EXIT_CODES, parser
from fleetalign.cli.results import RESULTS

HEAD = """# Command line

Rendered from the parser by `make docs`. `fleetalign --help` lists the commands; `fleetalign COMMAND --help` shows the options
and an example. The commands `snapshot` to `release build`, and `tune`, work on the plan of `--plan`, else on the newest plan of the store.

| command | what it does |
|---|---|
"""
COMMON = """## Options of every command

{options}

`simulate`, `inspect` and `bench` need no store and have no `--store`.

**Output.** The result goes to stdout. With `--output json` it is one JSON document whose keys are listed with each command. With
`--output text` (default), commands with a text form print that, the others the same JSON document. Progress, warnings
and errors go to stderr.

**Logging.** Warnings are shown by default. `-v` also logs progress, and shows the traceback of an error; `-vv` logs details. `-q`
shows errors only.

**Earlier names.** `promote`, `rollback`, `releases`, `verify` and `report` are accepted for `release promote`, `release rollback`,
`release list`, `release verify` and `release report`; `release` without a command of its group is `release build`.

## Exit codes

| code | meaning |
|---|---|
{codes}

An error is one line on stderr: what happened, where, what to do. `run`, `ingest` and `validate` also end with 3 when they
put something into the quarantine and stored the rest ([which input does what](data.md#the-exit-code)).
"""
GUIDES = {
    "bench": "[benchmarks](benchmarks.md)",
    "drift": "[has the telemetry drifted](operate.md#has-the-telemetry-drifted)",
    "feedback add": "[an operator's morning](operate.md#an-operators-morning)",
    "ingest": "[from Prometheus](data.md#from-prometheus)",
    "inspect": "[data](data.md)",
    "score": "[where scores and alarms go](consume.md#where-scores-and-alarms-go)",
    "simulate": "[simulator](simulator.md)",
}
"""Where more about a command is written."""


def render() -> str:
    """Render the page as Markdown."""
    leaves = dict(_leaves(parser()))
    page = HEAD
    for name, command in COMMANDS.items():
        page += f"| [`{name}`](#{_anchor(name)}) | {_cell(command.summary)} |\n"
    common = [a for a in leaves["run"]._actions if _is_common(leaves["run"], a)]
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    page += "\n" + COMMON.format(options=_options(common), codes=codes)
    for name, command in COMMANDS.items():
        summary = command.summary[0].upper() + command.summary[1:]
        guide = f" See {GUIDES[name]}." if name in GUIDES else ""
        page += f"\n## {name}\n\n{summary}.{guide}\n\n```\nfleetalign {command.example}\n```\n"
        own = [a for a in leaves[name]._actions if a.dest != "help" and not _is_common(leaves[name], a)]
        if own:
            page += "\n" + _options(own) + "\n"
        page += "\n| key of the result | meaning |\n|---|---|\n"
        page += "".join(f"| `{key}` | {_cell(meaning)} |\n" for key, meaning in RESULTS[name].items())
    return page


def _leaves(whole: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the parser of every command with the command's name."""
    groups = [action for action in whole._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for child in group.choices.values():
            yield from _leaves(child)
    if not groups:
        yield whole.get_default("command"), whole


def _is_common(leaf: argparse.ArgumentParser, action: argparse.Action) -> bool:
    return any(action in group._group_actions for group in leaf._action_groups if group.title == "common options")


def _options(actions: list[argparse.Action]) -> str:
    rows = ["| option | meaning |", "|---|---|"]
    for action in actions:
        names = ", ".join(action.option_strings)
        value = (
            "" if action.nargs == 0 else action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else "")
        )
        if not value and action.nargs != 0 and names:
            value = action.dest.upper()
        if action.nargs == "+":
            value = f"{value} …"
        written = f"{names} {value}".strip()
        required = " (required)" if action.required and names else ""
        rows.append(f"| `{written.replace('|', ' or ')}` | {_cell(action.help or '')}{required} |")
    return "\n".join(rows)


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
