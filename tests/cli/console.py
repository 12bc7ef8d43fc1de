"""Runs the command line: in this process, or as users do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COMMAND = Path(sys.executable).with_name("nki-tuner")


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code and its output."""

    code: int
    out: str
    err: str

    @property
    def flat(self) -> str:
        """The output with runs of blanks as one, so that tables can be searched."""
        return " ".join(self.out.split())


Call = Callable[..., Said]
"""Calls the command line in this process; see the fixture `call`."""


def console(line: str, *more: str, cwd: Path) -> Said:
    """Runs the installed command in a process of its own."""
    words = [str(COMMAND), *line.split(), *more]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=250, check=False)
    return Said(done.returncode, done.stdout, done.stderr)
