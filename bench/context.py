"""What the tasks of `evals/` cost an assistant, with our tools and with a plain generated server's.

Counted are the arguments that the model writes and the texts that it reads back, in tokens of o200k_base.
Both servers also send structured content, which is for programs. Times are first calls of a new server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import bpe_openai
from mcp import Client

from generated import generated_server
from report import table

sys.path.append(str(Path(__file__).parents[1] / "evals"))

from play import BuildServer, Crm, fresh_crm, missing, our_server, play, script
from task import Call, Task, load

CALLS_AIM, TOKENS_AIM = 1 / 2, 1 / 3
ROUNDS = 3

_encoding = bpe_openai.get_encoding("o200k_base")


@dataclass(frozen=True)
class Cost:
    """What one way of doing a task costs: calls, tokens sent and read, milliseconds."""

    calls: int
    arguments: int
    read: int
    milliseconds: float

    @property
    def tokens(self) -> int:
        return self.arguments + self.read

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.arguments + other.arguments,
            self.read + other.read,
            self.milliseconds + other.milliseconds,
        )


@dataclass(frozen=True)
class Row:
    """A task done both ways."""

    id: str
    ours: Cost
    generated: Cost

    @property
    def is_dearer(self) -> bool:
        return self.ours.tokens > self.generated.tokens or self.ours.calls > self.generated.calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows, listed = anyio.run(measured)
    print(json.dumps(as_json(rows, listed), indent=2) if options.json else as_text(rows, listed))


async def measured() -> tuple[list[Row], tuple[int, int]]:
    """A row a task, and the tokens of `tools/list` of both servers."""
    tasks = load()
    rows = [
        Row(
            task.id,
            await cost(task, task.calls, our_server),
            await cost(task, task.generated, theirs),
        )
        for task in tasks
    ]
    return rows, (await tokens_of_tools(our_server), await tokens_of_tools(theirs))


def theirs(crm: Crm) -> Any:
    return generated_server(crm.api)


async def cost(task: Task, calls: Sequence[Call], serve: BuildServer) -> Cost:
    """What these calls cost; of the time, the best of some rounds.

    Raises AssertionError where they do not do the task, or do not read its facts.
    """
    rounds = [await play(task, script(calls), serve) for _ in range(ROUNDS)]
    for played in rounds:
        faults = [*played.faults, *missing(task.answer.says, played.answer)]
        assert not faults, f"{task.id}: {faults}"
    heard = rounds[0].heard
    return Cost(
        calls=len(heard),
        arguments=sum(tokens(compact(one.arguments)) for one in heard),
        read=sum(tokens(one.text) for one in heard),
        milliseconds=min(1000 * sum(one.seconds for one in played.heard) for played in rounds),
    )


async def tokens_of_tools(serve: BuildServer) -> int:
    """What a client puts into the model's context of `tools/list`."""
    async with fresh_crm() as crm, Client(serve(crm)) as client:
        listed = (await client.list_tools()).tools
    return sum(
        tokens(compact({"name": one.name, "description": one.description, "inputSchema": one.input_schema}))
        for one in listed
    )


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def tokens(text: str) -> int:
    return len(_encoding.encode(text))


def as_json(rows: Sequence[Row], listed: tuple[int, int]) -> dict[str, Any]:
    return {
        "tools_list_tokens": {"ours": listed[0], "generated": listed[1]},
        "tasks": [asdict(row) for row in rows],
        "total": asdict(total(rows)),
        "dearer": [row.id for row in rows if row.is_dearer],
    }


def total(rows: Sequence[Row]) -> Row:
    nothing = Cost(0, 0, 0, 0)
    return Row(
        "all tasks",
        sum((row.ours for row in rows), nothing),
        sum((row.generated for row in rows), nothing),
    )


HEAD = ["", "calls", "", "ratio", "arguments", "", "read", "", "tokens", "", "ratio", "ms", ""]


def as_text(rows: Sequence[Row], listed: tuple[int, int]) -> str:
    whole = total(rows)
    calls, tokens_ratio = ratios(whole)
    median = statistics.median(ratios(row)[1] for row in rows)
    dearer = ", ".join(row.id for row in rows if row.is_dearer) or "none"
    return "\n".join(
        [
            "In each pair of columns: our tools, then the generated server's.",
            table(HEAD, [*map(cells, rows), cells(whole)]),
            f"calls: {calls:.2f} of the generated server's, aim at most {CALLS_AIM:.2f}",
            f"tokens: {tokens_ratio:.2f}, aim at most {TOKENS_AIM:.2f}; the median task: {median:.2f}",
            f"dearer with our tools, aim none: {dearer}",
            f"tools/list, paid once: {listed[0]} and {listed[1]} tokens",
        ]
    )


def ratios(row: Row) -> tuple[float, float]:
    """Our calls and our tokens, as shares of the generated server's."""
    return row.ours.calls / row.generated.calls, row.ours.tokens / row.generated.tokens


def cells(row: Row) -> list[str]:
    ours, generated = row.ours, row.generated
    calls, tokens_ratio = ratios(row)
    return [
        row.id + " (!)" * row.is_dearer,
        *(str(ours.calls), str(generated.calls), f"{calls:.2f}"),
        *(str(ours.arguments), str(generated.arguments)),
        *(str(ours.read), str(generated.read)),
        *(str(ours.tokens), str(generated.tokens), f"{tokens_ratio:.2f}"),
        *(f"{ours.milliseconds:.0f}", f"{generated.milliseconds:.0f}"),
    ]


if __name__ == "__main__":
    main()
