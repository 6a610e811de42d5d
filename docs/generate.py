"""Writes what is derived from the code into the README: the tables of tools and of settings.

`python docs/generate.py` writes, `python docs/generate.py --check` only tells (exit 1) whether it would.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from crm_mcp.settings import Settings
from crm_mcp.tools.catalogue import DEFAULT_TOOLSETS, Toolset
from crm_mcp.tools.surface import published

README = Path(__file__).parent.parent / "README.md"


def tools_table() -> str:
    order = list(Toolset)
    rows = sorted(published(), key=lambda facts: order.index(Toolset(facts["toolset"])))
    lines = ["| tool | toolset | what it does |", "| --- | --- | --- |"]
    for facts in rows:
        toolset = Toolset(facts["toolset"])
        shown = toolset.value if toolset in DEFAULT_TOOLSETS else f"{toolset.value} (off by default)"
        lines.append(f"| `{facts['tool']['name']}` | {shown} | {facts['tool']['description']} |")
    return "\n".join(lines)


def settings_table() -> str:
    lines = ["| variable | default | what it sets |", "| --- | --- | --- |"]
    for info in Settings.model_fields.values():
        lines.append(f"| `{info.alias}` | {_default(info.default)} | {info.description} |")
    return "\n".join(lines)


def _default(value: object) -> str:
    if isinstance(value, frozenset):
        return "`" + ",".join(toolset.value for toolset in Toolset if toolset in value) + "`"
    shown = str(value)
    return "" if shown in ("", "None", "()", "{}") else f"`{shown.lower() if value is False else shown}`"


def main() -> int:
    text = README.read_text("utf-8")
    new = text
    for name, table in {"tools": tools_table(), "settings": settings_table()}.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        new = block.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", new)
    if "--check" not in sys.argv:
        README.write_text(new, "utf-8")
        return 0
    if new != text:
        print("README.md is behind the code: run `make docs`.", file=sys.stderr)
    return int(new != text)


if __name__ == "__main__":
    sys.exit(main())
