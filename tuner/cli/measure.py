"""nki-tuner measure and nki-tuner verify: one config of one kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import (
    device_option,
    error_of,
    microseconds,
    simulator_options,
    table,
)
from tuner.runtime.errors import TunerError

if TYPE_CHECKING:
    from tuner.backends import Candidate, Measurement, Problem
    from tuner.backends.oracle import Oracle

__all__ = ["asked", "kernel_options", "measure", "verify"]

FAILED, REFUSED = 1, 2

HANGS_ON_RAMP = 0.02
"""From this share of the latency on, the doubt about TensorE's clock is worth a line."""

_shape = click.option(
    "--shape", help="Sizes and variants, for a bundled kernel or a search space file."
)
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
_arg = click.option(
    "--arg",
    "args",
    multiple=True,
    metavar="NAME=DTYPE[SIZES]",
    help="A tensor, for FILE.py:FUNCTION.",
)


def kernel_options(command: Any) -> Any:
    """Adds what names one config of a kernel on a simulated device."""
    for option in (device_option, _param, _arg, _dtype, _shape, click.argument("kernel")):
        command = option(command)
    return simulator_options(command)


@click.command(
    epilog="Example: nki-tuner measure path/to/file.py:function --arg lhsT=bfloat16[4096,1024] "
    "--arg rhs=bfloat16[4096,4096] --param tiles_m=4 --device trn2"
)
@kernel_options
@_lnc
@click.option("--stalls", is_flag=True, help="Also list what each engine waited for.")
@_json
def measure(
    kernel: str,
    shape: str | None,
    dtype: str | None,
    args: tuple[str, ...],
    params: tuple[str, ...],
    device: str,
    lnc: int | None,
    stalls: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Times one config of a kernel.

    KERNEL is FILE.py:FUNCTION with an --arg for each tensor, or a bundled kernel with --shape. Its
    code runs in this process.
    """
    from tuner.report import observe

    problem, config, roofline_us = asked(kernel, shape, dtype, args, params, device, options)
    problem = _launched(problem, lnc)
    result, run = observe(problem, config)
    figures = _figures(problem, result, roofline_us)
    if run is not None:
        figures["bound_by"], figures["stalls_us"] = run.bound_by, run.stalls_us
        figures["sensitivity_us"] = list(run.sensitivity_us())
    if as_json:
        click.echo(json.dumps({"config": config, **figures}, indent=1))
    elif result.latency_us is None:
        raise TunerError(f"{kernel} on {problem.device}: {result.status}: {result.reason}")
    else:
        _print(f"{kernel} on {problem.device}", figures)
        if stalls:
            _print_stalls(figures)
    return 0 if result.latency_us is not None else REFUSED


def asked(
    kernel: str,
    shape: str | None,
    dtype: str | None,
    args: tuple[str, ...],
    params: tuple[str, ...],
    device: str,
    options: dict[str, Any],
) -> tuple[Problem, dict[str, Any], float | None]:
    """Returns problem, config and roofline of what `kernel_options` name.

    A kernel file has no formula for its roofline: None.
    """
    if ".py:" in kernel:
        if shape or dtype:
            raise TunerError(f"{kernel}: give the tensors with --arg, not --shape and --dtype")
        from tuner.space import parse_params

        problem, config = _file_problem(kernel, args, device, options), parse_params(params)
        for argument in problem.arguments:
            if argument.name in config:
                raise TunerError(f"{kernel}: {argument.name!r} is given by --arg and by --param")
        return problem, config, None
    if args:
        raise TunerError("--arg goes with FILE.py:FUNCTION; a bundled kernel takes --shape")
    prepared, config = _prepared(kernel, shape, dtype, params, device, options)
    return prepared.problem, config, prepared.info.roofline_us


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
    sums onto what is undefined, tiles placed over others that are still needed. The kernel's code
    runs in this process.
    """
    from tuner.backends import Candidate, Status, evaluate, load_backend
    from tuner.backends.simulator import SimulatorBackend

    if oracle and lnc == 2:
        raise TunerError("--oracle compares one program: leave out --lnc 2")
    if oracle_python and not oracle:
        raise TunerError("--oracle-python goes with --oracle nki")
    prepared, config = _prepared(kernel, shape, dtype, params, device, {})
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
    options: dict[str, Any],
) -> Any:
    from tuner.job import Job, prepare

    if ".py:" in kernel:
        raise TunerError(f"{kernel}: needs a search space file, which names its reference")
    if shape is None:
        raise TunerError(f"{kernel}: needs --shape, as in --shape M=1024,K=4096,N=4096")
    prepared = prepare(Job(kernel, shape, dtype=dtype, device=device, **options))
    from tuner.space import parse_params

    chosen = parse_params(params)
    rules = prepared.space.rules
    default = prepared.info.default
    start = {**default, **chosen} if chosen else default
    active = rules.complete(start, prepared.space.scope)
    kept = {name: value for name, value in start.items() if name in active or name in chosen}
    return prepared, rules.checked(kept, prepared.space.scope)


def _file_problem(
    kernel: str, args: tuple[str, ...], device: str, options: dict[str, Any]
) -> Problem:
    from tuner.backends import Problem, on_device
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
    return Problem(read_kernel(path, entry), arguments, options=options, **on_device(device))  # type: ignore[arg-type]


def _figures(problem: Problem, result: Measurement, roofline_us: float | None) -> dict[str, Any]:
    """A kernel file has no formula for its work: its matmuls and its tensors' bytes stand for
    it.
    """
    from tuner.runtime.rules import DTYPE_BYTES

    figures = dict(result.figures)
    if result.latency_us is not None and roofline_us is None:
        moved = sum(argument.bytes for argument in problem.arguments) + figures["output_bytes"]
        width = DTYPE_BYTES[problem.arguments[0].dtype]
        roofline_us = problem.core.roofline_us(figures["flops"], moved, width)
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
    from tuner.report import largest_stall

    kind, latency, error = figures["kind"], figures["latency_us"], error_of(figures)
    rows = [["latency", microseconds(latency, kind, error)]]
    if figures["programs"] > 1:
        rows.append(["programs", f"{figures['programs']}; busy times and peaks are the slowest's"])
    rows.append(["of which launch", microseconds(figures["launch_us"], kind, error)])
    for name, busy in figures["busy_us"].items():
        rows.append([f"{name} busy", f"{microseconds(busy, kind, error)}, {busy / latency:.1%}"])
    rows += [
        ["HBM read", f"{figures['hbm_read_bytes']:,} bytes"],
        ["HBM written", f"{figures['hbm_written_bytes']:,} bytes"],
        *_spills(figures),
        ["SBUF peak", f"{figures['sbuf_peak_bytes_per_partition']:,} bytes per partition"],
        ["PSUM peak", f"{figures['psum_peak_banks']} banks"],
        ["instructions", f"{figures['instructions']:,}"],
        [
            "roofline share",
            f"{figures['roofline_share']:.1%} of what the device could do: "
            f"{microseconds(figures['roofline_us'], 'bound')}",
        ],
    ]
    rows.append(["bound by", figures["bound_by"]])
    longest = largest_stall(figures["busy_us"], figures["stalls_us"])
    if longest is not None:
        us, engine, cause = longest
        told = f"{engine} waits {microseconds(us, kind, error)}, {us / latency:.1%}, for {cause}"
        rows.append(["largest stall", told])
    low, high = figures["sensitivity_us"]
    if high - low > HANGS_ON_RAMP * latency:
        told = "within the doubt of the ramp's window: the prediction hangs on it"
        rows.append(["clock ramp", f"between {low:,.1f} and {high:,.1f} us {told} ({kind})"])
    table(title, ["", ""], rows)


def _spills(figures: dict[str, Any]) -> list[list[str]]:
    """What of the traffic is because tiles did not fit."""
    causes = {
        "spilled to HBM": "spill_saved_bytes",
        "reloaded": "spill_reloaded_bytes",
        "read again": "reread_bytes",
    }
    return [[f"of which {n}", f"{figures[k]:,} bytes"] for n, k in causes.items() if figures[k]]


def _print_stalls(figures: dict[str, Any]) -> None:
    rows = []
    for engine, causes in figures["stalls_us"].items():
        for k, (cause, us) in enumerate(causes.items()):
            share = f"{us / figures['latency_us']:.1%}"
            first = "" if k else engine
            told = microseconds(us, figures["kind"], error_of(figures))
            rows.append([first, cause, told, share])
    table("what engines and, on average, DMA queues waited for", ["", "cause", "time", ""], rows)
