"""The terminal of the person at this machine, where no flag, pipe, stdin or variable answers for them."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from crm_mcp.settings import SettingsError
from crm_mcp.wording import on_one_line

READING, WRITING = ("CONIN$", "CONOUT$") if sys.platform == "win32" else ("/dev/tty", "/dev/tty")
ANSWERS = {"yes": True, "no": False}
ONCE_MORE = "Please type yes or no: "


class NoTerminalError(SettingsError):
    """There is nobody who could be asked."""


def plain(text: str) -> str:
    """Text in which others had a part: its lines, with nothing in them that a terminal would obey."""
    return "\n".join(_indent(line) + on_one_line(line) for line in text.split("\n"))


def ask(text: str, question: str) -> bool | None:
    """What the person says, shown the text: yes, no, or neither of them in two attempts.

    Raises NoTerminalError.
    """
    with ExitStack() as stack:
        try:
            reading = stack.enter_context(Path(READING).open("r", encoding="utf-8", errors="replace"))
            writing = stack.enter_context(Path(WRITING).open("w", encoding="utf-8", errors="replace"))
        except OSError as error:
            raise NoTerminalError(
                "this needs a terminal: a person answers there, and nothing else does. Nothing was done."
            ) from error
        writing.write(f"{plain(text)}\n\n")
        return _answer(reading, writing, question)


def _answer(reading: TextIO, writing: TextIO, question: str) -> bool | None:
    try:
        for prompt in (question, ONCE_MORE):
            _forget_what_was_typed(reading)
            writing.write(prompt)
            writing.flush()
            said = reading.readline()
            # Without its end the line was never entered.
            if not said.endswith("\n"):
                break
            if (word := said.strip().lower()) in ANSWERS:
                return ANSWERS[word]
    except KeyboardInterrupt:
        pass
    writing.write("\n")
    return None


def _forget_what_was_typed(reading: TextIO) -> None:
    """What was typed before the question was there does not answer it."""
    if sys.platform != "win32":
        import termios  # noqa: PLC0415  # Windows has none

        termios.tcflush(reading.fileno(), termios.TCIFLUSH)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]
