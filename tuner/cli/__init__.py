"""The command line. Commands hold no logic of their own: they read options, call the package,
print.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import click

from tuner import __version__
from tuner.cli.batch import batch
from tuner.cli.calibrate import calibrate
from tuner.cli.check import check
from tuner.cli.common import INTERRUPTED
from tuner.cli.doctor import doctor
from tuner.cli.files import best, export, lookup, show
from tuner.cli.lint import lint
from tuner.cli.listing import devices, spaces
from tuner.cli.measure import measure, verify
from tuner.cli.record import record
from tuner.cli.replay import replay
from tuner.cli.trace import trace
from tuner.cli.tune import tune
from tuner.runtime.errors import TunerError, unknown

__all__ = ["cli", "main"]


class _Commands(click.Group):
    """A group that knows the nearest names."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command by name."""
        command = super().get_command(ctx, cmd_name)
        if command is None:
            raise unknown("command", cmd_name, self.commands)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nki-tuner")
def cli() -> None:
    """Autotuner for AWS Trainium NKI kernels.

    Searches the configs of a kernel on a simulated NeuronCore, stores what it finds, and exports
    tables that a serving process looks configs up in.

    \b
    nki-tuner tune matmul --shape M=1024,K=4096,N=4096 --device trn2 --trials 100
    nki-tuner export results/ -o trn2.json
    nki-tuner lookup trn2.json matmul --shape M=1024,K=4096,N=4096
    """


_TUNING = (tune, batch, measure, trace, verify, lint, calibrate, record, replay)
_READING = (show, best, export, check, lookup, devices, spaces, doctor)
for _command in (*_TUNING, *_READING):
    cli.add_command(_command)


def main(args: list[str] | None = None) -> Any:
    """Runs the command line; bad input is one line and exit code 2."""
    for library in ("OMP", "OPENBLAS", "MKL"):  # small products, on cores that workers use too
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if args is None else args
    try:
        code = cli.main(words or ["--help"], prog_name="nki-tuner", standalone_mode=False)
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except (TunerError, click.ClickException, OSError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {' '.join(str(TunerError(text)).split())}", err=True)
        sys.exit(2)
    except RecursionError:
        click.echo("error: something in the input is nested too deeply", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)
