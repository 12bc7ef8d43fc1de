from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.small_kernel import KERNEL, line_of
from tests.backends.small_kernel import problem as small_problem
from tuner.backends import Candidate, Status, evaluate, load_backend, make_backend
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("memory", "out of memory in SBUF: 262144 bytes per partition asked"),
        ("rows", "129 partitions, nl.sbuf has 128"),
        ("raises", "ValueError: two lines"),
        ("helper", "is not supported by the simulator"),
        ("numpy", "LinAlgError: Last 2 dimensions"),
        ("exits", "SystemExit: 7"),
    ],
)
def test_what_a_kernel_is_refused_for_has_status_compile(
    kernel_file: Path, fault: str, reason: str
) -> None:
    result = evaluate(
        load_backend(small_problem(kernel_file)), Candidate(5, {"columns": 64, "fault": fault})
    )
    assert (result.number, result.status) == (5, Status.COMPILE)
    assert reason in result.reason
    assert f"({line_of(fault)})" in result.reason
    assert "\n" not in result.reason
    assert result.latency_us is None
    assert "compile" in result.host_s


def test_the_line_is_named_wherever_the_kernel_lies(tmp_path: Path) -> None:
    folder = tmp_path / "tuner" / "kernels"  # as in a wheel
    folder.mkdir(parents=True)
    (folder / "double.py").write_text(KERNEL)
    backend = load_backend(small_problem(folder / "double.py"))
    result = evaluate(backend, Candidate(0, {"fault": "rows"}))
    assert result.reason.endswith(f"({line_of('rows')})")


def test_the_line_of_a_sibling_is_named(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text("def part():\n    raise KeyError('x')\n")
    path = tmp_path / "whole.py"
    path.write_text("import parts\n\ndef double(x):\n    parts.part()\n")
    result = evaluate(load_backend(small_problem(path)), Candidate(0, {}))
    assert result.reason == "KeyError: 'x' (parts.py:2)"


def test_an_unknown_parameter_has_status_compile(kernel_file: Path) -> None:
    result = evaluate(load_backend(small_problem(kernel_file)), Candidate(0, {"colums": 1}))
    assert result.status == Status.COMPILE
    assert "colums" in result.reason


def test_a_long_reason_keeps_its_line(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("def double(x):\n    raise ValueError('no ' * 10_000)\n")
    result = evaluate(load_backend(small_problem(path)), Candidate(0, {}))
    assert len(result.reason) <= 500
    assert result.reason.endswith("(long.py:2)")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [("broken_reference", line_of("reference")), ("missing_reference", "missing_reference")],
)
def test_a_broken_reference_has_status_runtime(
    kernel_file: Path, reference: str, reason: str
) -> None:
    problem = small_problem(kernel_file, reference=reference)
    result = evaluate(load_backend(problem), Candidate(0, {"columns": 128}, problem.arguments))
    assert result.status == Status.RUNTIME
    assert result.latency_us is None
    assert reason in result.reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "hardware"}, "unknown backend 'hardware'"),
        ({"device": "trn9"}, "unknown device 'trn9'; did you mean"),
        ({"options": {"policy": "best"}}, "unknown compiler policy 'best'"),
    ],
)
def test_unknown_names_in_a_problem(
    kernel_file: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TunerError, match=message):
        make_backend(small_problem(kernel_file, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('not today')", "cannot be loaded: RuntimeError: not today"),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        ("import nki.no_such_module", "cannot be loaded: ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("del double", "unknown function"),
    ],
)
def test_a_kernel_that_cannot_be_loaded(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(f"def double(x):\n    return x\n{text}\n")
    problem = small_problem(path, kernel=read_kernel(path, "double"))
    with pytest.raises(TunerError, match=message) as error:
        load_backend(problem)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
