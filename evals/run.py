"""Plays the tasks and prints what became of each; exit code 1 if one was not done. See README.md."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Sequence

import anyio

from play import Assistant, evaluate
from task import Task, filled, load


def main() -> int:
    options = _options()
    tasks = [task for task in load() if options.task in (None, task.id)]
    if not tasks:
        sys.exit(f"There is no task {options.task}.")
    assistant = pkgutil.resolve_name(options.assistant) if options.assistant else None
    failed = anyio.run(evaluate_all, tasks, assistant)
    print(f"{len(tasks) - failed} of {len(tasks)} tasks done")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", metavar="ID", help="only this one")
    parser.add_argument("--assistant", metavar="MODULE:FUNCTION", help="who is asked, instead of the script")
    return parser.parse_args()


async def evaluate_all(tasks: Sequence[Task], assistant: Assistant | None) -> int:
    """Print a line a task, and below it what is wrong; the number of tasks that were not done."""
    width = max(len(task.id) for task in tasks)
    failed = 0
    for task in tasks:
        faults = await evaluate(task, assistant)
        failed += bool(faults)
        print(f"{'FAILED' if faults else 'done':<8}{task.id:<{width}}  {filled(task.asks, [])}")
        for fault in faults:
            print(f"{'':<8}{fault}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
