"""What a task is, as its file says it; the README describes the format."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

TASKS = Path(__file__).parent / "tasks"

PLACEHOLDER = re.compile(r"{(null|today(?:[+-]\d+)?|(\d+)\.([^{}]+))}")
STEP = re.compile(r"\[(?P<key>\w+)=(?P<value>[^\]]*)\]|\[(?P<index>-?\d+)\]|(?P<name>\w+)")


class Part(BaseModel):
    """A part of a task; a name that the format does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(Part):
    """A request to the CRM's HTTP API and, with `at`, what is to stand in its answer."""

    path: str
    method: str = "GET"
    query: dict[str, Any] = {}
    body: dict[str, Any] | None = None
    at: str = ""
    expected: Any = Field(None, alias="is")


class Call(Part):
    """A call of a tool; `fails` where the right answer is an error."""

    tool: str
    arguments: dict[str, Any] = {}
    fails: bool = False


class Answer(Part):
    """What the person is told: facts of the CRM, what follows from them, and what must not be said."""

    says: list[str] = []
    concludes: list[str] = []
    never_says: list[str] = []


class Completion(Part):
    """A prompt's argument as it is typed, and the value that has to be offered."""

    prompt: str
    argument: str
    typed: str
    offers: str


class Task(Part):
    """What a person asks, and how to tell that it was done."""

    id: str
    asks: str
    before: list[Request] = []
    calls: list[Call]
    generated: list[Call]
    changes: dict[str, int] = {}
    after: list[Request] = []
    answer: Answer = Answer()
    marked: list[str] = []
    completion: Completion | None = None


def load() -> list[Task]:
    """All tasks, file by file."""
    tasks = [
        Task(id=task_id, **facts)
        for path in sorted(TASKS.glob("*.toml"))
        for task_id, facts in tomllib.loads(path.read_text("utf-8")).items()
    ]
    ids = [task.id for task in tasks]
    twice = {task_id for task_id in ids if ids.count(task_id) > 1}
    if twice:
        raise ValueError(f"Two tasks have the same id: {', '.join(sorted(twice))}")
    return tasks


def filled(value: Any, answers: Sequence[Any]) -> Any:
    """The value with its placeholders replaced; one that is the whole string keeps its type."""
    if isinstance(value, dict):
        return {name: filled(part, answers) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, answers) for part in value]
    if not isinstance(value, str):
        return value
    if whole := PLACEHOLDER.fullmatch(value):
        return _meant(whole, answers)
    return PLACEHOLDER.sub(lambda found: str(_meant(found, answers)), value)


def _meant(placeholder: re.Match[str], answers: Sequence[Any]) -> Any:
    word, number, path = placeholder.groups()
    if number:
        return pick(answers[int(number) - 1], path)
    if word == "null":
        return None
    day = datetime.now(UTC).date() + timedelta(days=int(word.removeprefix("today") or 0))
    return day.isoformat()


def pick(answer: Any, path: str) -> Any:
    """What stands at `leads[title=Acme pilot project].id` or `leads[0].id` of a JSON answer.

    Of an answer in text, the path is words of a line, and what is picked is the id at its end.
    Raises LookupError where there is no such thing.
    """
    if isinstance(answer, str):
        return _first([line for line in answer.splitlines() if path in line], path).rpartition(" · ")[2]
    for step in STEP.finditer(path):
        if step["name"]:
            answer = answer[step["name"]]
        elif step["index"]:
            answer = _first(answer[int(step["index"]) :], path)
        else:
            answer = _first([row for row in answer if str(row[step["key"]]) == step["value"]], path)
    return answer


def _first(found: Sequence[Any], path: str) -> Any:
    if not found:
        raise LookupError(f"nothing at {path}")
    return found[0]


def parsed(text: str) -> Any:
    """JSON where the text is some, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
