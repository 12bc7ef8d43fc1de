"""nki-tuner measure and nki-tuner verify: one config of one kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import device_option, microseconds, parse_params, table
from tuner.runtime.errors import TunerError

if TYPE_CHECKING:
    from tuner.backends import Candidate, Measurement, Problem
    from tuner.backends.oracle import Oracle

FAILED, REFUSED = 1, 2

_shape = click.option("--shape", help="Sizes, for a bundled kernel or a search space file.")
_dtype = click.option("--dtype", help="Operands' dtype, with --shape.")
_param = click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated."
)
_lnc = click.option(
    "--lnc",
    type=click.IntRange(1, 2),
    help="Cores that run the kernel together.  [default: as the kernel is marked, else 1]",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(
    epilog="Example: nki-tuner measure path/to/file.py:function --arg lhsT=bfloat16[4096,1024] "
    "--arg rhs=bfloat16[4096,4096] --param tiles_m=4 --device trn2"
)
@click.argument("kernel")
@_shape
@_dtype
@click.option(
    "--arg",
    "args",
    multiple=True,
    metavar="NAME=DTYPE[SIZES]",
    help="A tensor, for FILE.py:FUNCTION.",
)
@_param
@device_option
@click.option("--policy", default="nki", show_default=True, help="The simulator's compiler policy.")
@_lnc
@_json
def measure(
    kernel: str,
    shape: str | None,
    dtype: str | None,
    args: tuple[str, ...],
    params: tuple[str, ...],
    device: str,
    policy: str,
    lnc: int | None,
    as_json: bool,
) -> int:
    """Times one config of a kernel.

    KERNEL is FILE.py:FUNCTION with an --arg for each tensor, or a bundled kernel with --shape.
    """
    from tuner.backends import Candidate, evaluate, load_backend

    if ".py:" in kernel:
        if shape or dtype:
            raise TunerError(f"{kernel}: give the tensors with --arg, not --shape and --dtype")
        problem, config = _file_problem(kernel, args, device, policy), parse_params(params)
        roofline_us = None
    else:
        if args:
            raise TunerError("--arg goes with FILE.py:FUNCTION; a bundled kernel takes --shape")
        prepared, config = _prepared(kernel, shape, dtype, params, device, policy)
        problem, roofline_us = prepared.problem, prepared.info.roofline_us
    problem = _launched(problem, lnc)
    result = evaluate(load_backend(problem), Candidate(0, config))
    figures = _figures(problem, result, roofline_us)
    if as_json:
        click.echo(json.dumps({"config": config, **figures}, indent=1))
    elif result.latency_us is None:
        raise TunerError(f"{kernel} on {device}: {result.status}: {result.reason}")
    else:
        _print(f"{kernel} on {device}", figures)
    return 0 if result.latency_us is not None else REFUSED


@click.command(
    epilog="Example: nki-tuner verify matmul --shape M=1000,K=3000,N=5000 --param tiles_m=4"
)
@click.argument("kernel")
@_shape
@_dtype
@_param
@device_option
@_lnc
@click.option("--strict", is_flag=True, help="Fail also where hardware promises no sure result.")
@click.option(
    "--full", is_flag=True, help="Check on the whole workload, not on a small one like it."
)
@click.option(
    "--oracle",
    type=click.Choice(["nki"]),
    help="Also compare with nki.simulate of AWS's own nki package, where that is installed.",
)
@click.option(
    "--oracle-python", metavar="PATH", help="The interpreter that has it.  [default: this one]"
)
def verify(
    kernel: str,
    shape: str | None,
    dtype: str | None,
    params: tuple[str, ...],
    device: str,
    lnc: int | None,
    strict: bool,
    full: bool,
    oracle: str | None,
    oracle_python: str | None,
) -> int:
    """Checks one config against its reference.

    Runs KERNEL on random numbers on the simulator and compares with its numpy reference; with
    --oracle nki also with what AWS's own simulator makes of them. Then lists the lines whose
    result hardware does not promise, though it was right here: what is read before it is written,
    sums onto what is undefined, tiles placed over others that are still needed.
    """
    from tuner.backends import Candidate, Status, evaluate, load_backend
    from tuner.backends.simulator import SimulatorBackend

    if oracle and lnc == 2:
        raise TunerError("--oracle compares one program: leave out --lnc 2")
    if oracle_python and not oracle:
        raise TunerError("--oracle-python goes with --oracle nki")
    prepared, config = _prepared(kernel, shape, dtype, params, device, "nki")
    problem = _launched(prepared.problem, lnc)
    arguments = problem.arguments if full else prepared.verification_arguments(config)
    candidate = Candidate(0, config, arguments)
    asked = _oracle(oracle_python) if oracle else None
    backend = load_backend(problem)
    result = evaluate(backend, candidate)
    shapes = ", ".join(f"{a.name} {a.dtype}{list(a.shape)}" for a in arguments)
    verdict = "correct" if result.verified else f"{result.status}: {result.reason}"
    click.echo(f"{prepared.workload} on {device}, checked with {shapes}: {verdict}")
    right = result.verified
    assert isinstance(backend, SimulatorBackend)
    for hazard in backend.hazards:
        click.echo(f"{hazard.line}: hazard: {hazard.message}")
        right = right and not strict
    if asked is not None and (result.verified or result.status == Status.CORRECTNESS):
        right = _agrees(problem, candidate, *asked) and right
    return 0 if right else FAILED


def _launched(problem: Problem, programs: int | None) -> Problem:
    """A problem whose kernel so many cores run together; None leaves it as it is."""
    if programs is None:
        return problem
    return replace(problem, options={**problem.options, "programs": programs})


def _oracle(python: str | None) -> tuple[Oracle, str]:
    """Returns AWS's nki and its version."""
    from tuner.backends.oracle import Oracle

    oracle = Oracle(python) if python else Oracle()
    return oracle, oracle.version()


def _agrees(problem: Problem, candidate: Candidate, oracle: Oracle, version: str) -> bool:
    from tuner.backends.oracle import OracleError, check

    try:
        mismatch = check(problem, candidate, oracle)
        verdict = "the same within rounding" if mismatch is None else f"differs: {mismatch}"
        agrees = mismatch is None
    except OracleError as error:
        agrees, verdict = False, f"failed: {error}"
    click.echo(f"nki.simulate of nki {version}: {verdict}")
    return agrees


def _prepared(
    kernel: str,
    shape: str | None,
    dtype: str | None,
    params: tuple[str, ...],
    device: str,
    policy: str,
) -> Any:
    from tuner.job import Job, prepare

    if shape is None:
        raise TunerError(f"{kernel}: needs --shape, as in --shape M=1024,K=4096,N=4096")
    prepared = prepare(Job(kernel, shape, dtype=dtype, device=device, policy=policy))
    chosen = parse_params(params)
    rules = prepared.definition.rules
    default = prepared.info.default
    start = {**default, **chosen} if chosen else default
    active = rules.complete(start, prepared.space.scope)
    kept = {name: value for name, value in start.items() if name in active or name in chosen}
    return prepared, rules.checked(kept, prepared.space.scope)


def _file_problem(kernel: str, args: tuple[str, ...], device: str, policy: str) -> Problem:
    from tuner.backends import Problem
    from tuner.kernel import read_kernel
    from tuner.space import parse_argument

    path, _, entry = kernel.rpartition(":")
    if not args:
        raise TunerError(
            f"{kernel}: needs an --arg for each tensor, as in --arg lhsT=bfloat16[4096,1024]"
        )
    arguments = tuple(parse_argument(text) for text in args)
    names = [argument.name for argument in arguments]
    if len(set(names)) != len(names):
        raise TunerError(f"{kernel}: an --arg is given twice ({', '.join(names)})")
    return Problem(read_kernel(path, entry), arguments, device, options={"policy": policy})


def _figures(problem: Problem, result: Measurement, roofline_us: float | None) -> dict[str, Any]:
    """A kernel file has no formula for its work: its matmuls and its tensors' bytes stand for
    it.
    """
    from tuner.neuroncore import device
    from tuner.runtime.rules import DTYPE_BYTES

    figures = dict(result.figures)
    if result.latency_us is not None and roofline_us is None:
        moved = sum(argument.bytes for argument in problem.arguments) + figures["output_bytes"]
        width = DTYPE_BYTES[problem.arguments[0].dtype]
        roofline_us = device(problem.device).roofline_us(figures["flops"], moved, width)
    if roofline_us is not None:  # of one core
        roofline_us /= figures.get("programs", 1)
    share = roofline_us / result.latency_us if roofline_us and result.latency_us else None
    return {
        "status": result.status.value,
        "reason": result.reason,
        "kind": result.kind,
        "latency_us": result.latency_us,
        "roofline_us": roofline_us,
        "roofline_share": share,
        **figures,
    }


def _print(title: str, figures: dict[str, Any]) -> None:
    kind, latency = figures["kind"], figures["latency_us"]
    rows = [["latency", microseconds(latency, kind)]]
    rows.append(["of which launch", microseconds(figures["launch_us"], kind)])
    for name, busy in figures["busy_us"].items():
        rows.append([f"{name} busy", f"{microseconds(busy, kind)}, {busy / latency:.1%}"])
    rows += [
        ["HBM read", f"{figures['hbm_read_bytes']:,} bytes"],
        ["HBM written", f"{figures['hbm_written_bytes']:,} bytes"],
        ["SBUF peak", f"{figures['sbuf_peak_bytes_per_partition']:,} bytes per partition"],
        ["PSUM peak", f"{figures['psum_peak_banks']} banks"],
        ["instructions", f"{figures['instructions']:,}"],
        [
            "roofline share",
            f"{figures['roofline_share']:.1%} of what the device could do: "
            f"{microseconds(figures['roofline_us'], 'bound')}",
        ],
    ]
    table(title, ["", ""], rows)
