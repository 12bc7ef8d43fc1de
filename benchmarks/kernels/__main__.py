"""Command line of the comparison."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks.arguments import positive, positives
from benchmarks.kernels.comparing import Asked, compare_all
from benchmarks.kernels.report import as_data, as_markdown, show
from benchmarks.kernels.workloads import PAPER_ROWS
from benchmarks.readme import write
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError

DEVICES = ("trn1", "trn2")
TRIALS = 100
NAME = "python -m benchmarks.kernels"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line; bad input ends with one line and exit code 2."""
    options = _parser().parse_args(arguments)
    asked = Asked(options.rows, options.trials, not options.search, not options.paper)
    try:
        found = compare_all([device(name).name for name in dict.fromkeys(options.device)], asked)
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is kept", file=sys.stderr)
        sys.exit(130)
    if options.json:
        print(json.dumps(as_data(found), indent=1))
    elif options.write:
        write(as_markdown(found), NAME)
    elif options.markdown:
        print(as_markdown(found))
    else:
        show(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels",
        description="Compares the tuned low-rank chain with AWS's matmul and what lies between.",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON and nothing else")
    shape.add_argument("--markdown", action="store_true", help="print Markdown")
    shape.add_argument(
        "--write", action="store_true", help="put the Markdown into results/README.md"
    )
    parser.add_argument("--device", nargs="+", default=list(DEVICES), help="default: %(default)s")
    parser.add_argument(
        "--rows",
        type=positives,
        default=PAPER_ROWS,
        metavar="M,M,...",
        help="rows of the paper's chain (default: 1024 to 32768)",
    )
    parser.add_argument(
        "--trials", type=positive, default=TRIALS, help="configs a search tries (default: 100)"
    )
    parser.add_argument(
        "--search", action="store_true", help="search even what the shipped tables have"
    )
    parser.add_argument(
        "--paper", action="store_true", help="the paper's chain only, no models, no plain matmuls"
    )
    return parser


if __name__ == "__main__":
    main()
