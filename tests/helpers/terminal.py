"""A scripted terminal: answers the questions of a command as an operator does, and keeps what both wrote."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ENTER, CTRL_C, CTRL_D = "\r", "\x03", "\x04"
"""The keys that end an answer, stop the command, and end the input."""
Answer = str | Callable[[], str]
"""What is typed before Enter, `ENTER` for nothing; or a function that returns it once the question is asked."""
Script = Mapping[str, Sequence[Answer]]
"""The answers to each question, by a regular expression that finds it. A question may come once for each answer."""

_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C interrupts the command
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_QUESTION = re.compile(r".*: ")
"""The last line while the command waits for an answer."""


class UnexpectedQuestion(Exception):
    """A command asked a question to which the script has no answer."""


class Transcript(NamedTuple):
    """What a command and its operator wrote."""

    text: str
    """All of it, without escape sequences."""
    answers: list[tuple[str, str]]
    """Each question, and what was typed; empty for Enter."""
    returncode: int

    @property
    def typed(self) -> list[str]:
        """The answers that are not only Enter."""
        return [answer for _, answer in self.answers if answer]


def run_in_terminal(
    arguments: Sequence[str], script: Script, *, folder: Path, environment: Mapping[str, str], timeout: float = 60
) -> Transcript:
    """Run Python with arguments in a terminal, and type the answers of a script when it asks for them.

    Raises `UnexpectedQuestion` with the transcript, or `TimeoutError` if the command does not end in time.
    """
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (50, 200))
    with subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *arguments],
        cwd=folder,
        env={"TERM": "xterm", **environment},
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    ) as process:
        os.close(end)
        try:
            text, answers = _converse(terminal, process.pid, script, time.monotonic() + timeout)
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(terminal)
    return Transcript(text, answers, process.returncode)


def _converse(terminal: int, pid: int, script: Script, deadline: float) -> tuple[str, list[tuple[str, str]]]:
    """Type answers until the command closes the terminal. Return what was shown, and the answers."""
    left = {pattern: list(answers) for pattern, answers in script.items()}
    shown, answered, answers = b"", 0, list[tuple[str, str]]()
    while chunk := _read(terminal, deadline, shown):
        shown += chunk
        last_line = re.split(r"[\r\n]", _plain(shown[answered:]))[-1]
        if _QUESTION.fullmatch(last_line):
            answer, answered = _answer(last_line.strip(), left, _plain(shown)), len(shown)
            answers.append((last_line.strip(), answer.removesuffix(ENTER)))
            _wait_until_it_sleeps(pid, deadline)
            os.write(terminal, answer.encode())
    return _plain(shown), answers


def _wait_until_it_sleeps(pid: int, deadline: float) -> None:
    """Wait until a process that asked a question waits for input: a Ctrl-C just before that would be lost."""
    state = Path(f"/proc/{pid}/stat")  # only on Linux
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "S" and time.monotonic() < deadline:
        time.sleep(0.001)


def _read(terminal: int, deadline: float, shown: bytes) -> bytes:
    """Return what the command wrote next; empty if it ended."""
    if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        raise TimeoutError(f"the command did not end in time:\n{_plain(shown)}")
    try:
        return os.read(terminal, 100_000)
    except OSError:  # Linux: the other end is closed
        return b""


def _plain(shown: bytes) -> str:
    text = _ESCAPE_SEQUENCE.sub("", shown.decode(errors="replace"))
    return text.replace("\r\n", "\n")


def _answer(question: str, left: dict[str, list[Answer]], transcript: str) -> str:
    """Return the keys to type, and remove the answer from those that are left."""
    for pattern, answers in left.items():
        if answers and re.search(pattern, question):
            found = answers.pop(0)
            text = found if isinstance(found, str) else found()
            return text if text in {ENTER, CTRL_C, CTRL_D} else f"{text}{ENTER}"
    raise UnexpectedQuestion(f"The command asks {question!r}, to which the script has no answer:\n{transcript}")
