"""Render docs/settings.md from the dataclasses in fleetalign.config; ``make docs`` writes it and a test compares it.

python docs/render_settings.py > docs/settings.md
"""

from __future__ import annotations

import ast
import inspect
import sys

from fleetalign.config import build, run

HEAD = """# Settings

Every setting with its default, rendered from `tasks/fleetalign/config/run.py` and `build.py` by `make docs`. To override settings, write a YAML
file and name it with `--params FILE` or `FLEETALIGN_PARAMS`:

```yaml
model:
  window_steps: 60
align:
  pages_per_entity_day: 0.1
  grid: {{tail_probability_count: 30}}
```

`FLEETALIGN_STORE` names the store when no `--store` is given, `FLEETALIGN_PROMETHEUS_URL` a Prometheus server. An unknown setting, or a value of the wrong type, is
rejected by name, and so is a changed setting of a detector that `model.network` does not name. A name that has moved is read, and one line of the log says
what it is called now. The sections {build} decide artifacts and are part of the plan; the others only decide where and how to run.
"""


def _fields(node: ast.ClassDef) -> list[tuple[str, str, str, str]]:
    """(name, type, default, meaning) of each annotated field; the meaning is the string literal that follows it."""
    found = []
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            default = "{}" if "factory=dict" in ast.unparse(statement.value) else ast.unparse(statement.value)
            found.append((statement.target.id, ast.unparse(statement.annotation), default, text))
    return found


def render() -> str:
    source = "\n".join(inspect.getsource(module) for module in (build, run))
    classes = {n.name: n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)}
    tables: dict[str, list[tuple[str, str, str]]] = {"": []}
    titles: dict[str, str] = {}

    def collect(class_name: str, section: str) -> None:
        """Add the settings of a class to the table of its section; a group gets a table of its own."""
        for name, annotation, default, text in _fields(classes[class_name]):
            dotted = f"{section}.{name}".lstrip(".")
            if annotation in classes:
                tables[dotted] = []
                titles[dotted] = ast.get_docstring(classes[annotation]).partition("\n\n")[0]
                collect(annotation, dotted)
            else:
                tables[section].append((dotted, default, text))

    collect("Config", "")
    lines = [HEAD.format(build=", ".join(f"`{s}`" for s in run.BUILD_SECTIONS))]
    for section, entries in tables.items():
        level = "###" if "." in section else "##"
        title = f"`{section}`" if "." in section else section or "Top level"
        lines += [f"{level} {title}", "", *([titles[section], ""] if section else [])]
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | `{default}` | {text.replace('|', '/')} |" for name, default, text in entries]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(render())
