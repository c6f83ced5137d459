"""Draws docs/images/run.svg: a real run of the example on a real (pseudo) terminal, exported by rich.

    .venv/bin/python docs/images/draw_run.py

Runs in an empty HOME, so the first run installs what the example needs; that takes a minute.
"""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import pty
import shutil
import struct
import sys
import tempfile
import termios
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent.parent / "examples" / "digits"
COLUMNS, LINES = 96, 44
COMMANDS = [
    "dstack run train-digits -t digits -- --epochs 10",
    "dstack run train-digits -- --epochs 10",
    "dstack ls -r :digits",
]


def screen_after(command: str, folder: Path, env: dict[str, str]) -> list[Text]:
    """The lines on the terminal after a command."""
    screen = pyte.HistoryScreen(COLUMNS, LINES, history=1000)
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe("bash", ["bash", "-c", command], env)  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    while True:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # Linux says EIO when the other end is closed
            break
        if not data:
            break
        stream.feed(data)
    os.waitpid(pid, 0)
    rows = [*screen.history.top, *(screen.buffer[y] for y in range(LINES))]
    lines = [line_of(row) for row in rows]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def line_of(row: dict[int, pyte.screens.Char]) -> Text:
    """One line, with its colours."""
    text = Text()
    for style, chars in itertools.groupby((row[x] for x in range(COLUMNS)), style_of):
        text.append("".join(char.data for char in chars), style)
    text.rstrip()
    return text


def style_of(char: pyte.screens.Char) -> Style:
    """A character's colour and weight, in rich's words."""
    color = None if char.fg == "default" else char.fg.replace("bright", "bright_").replace("brown", "yellow")
    if color and len(color) == 6 and all(c in "0123456789abcdef" for c in color):
        color = f"#{color}"
    return Style(color=color, bold=char.bold, italic=char.italics)


def main() -> None:
    """Run the commands, write the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "digits"
        shutil.copytree(EXAMPLE, folder)
        bin_folder = str(Path(sys.executable).parent)
        env = {
            **os.environ,
            "HOME": temporary,
            "DSTACK_HOME": f"{temporary}/.dstack",
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        env.pop("NO_COLOR", None)
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            for line in screen_after(command, folder, env):
                console.print(line, soft_wrap=True)
    console.save_svg(str(HERE / "run.svg"), title="dstack")


if __name__ == "__main__":
    main()
