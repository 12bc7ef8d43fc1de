"""Simulated runs for tests: by hand, at random, of a bundled kernel."""

from __future__ import annotations

from functools import cache

from tests.neuroncore.programs import Builder, elementwise, load, matmul, store
from tuner.job import Job, prepare
from tuner.neuroncore import Device, Policy, device, policy
from tuner.neuroncore.compiler.memory import plan_memory
from tuner.neuroncore.program import Engine, Program, Space
from tuner.neuroncore.simulation import predict
from tuner.report import Run, observe

HBM, SBUF, PSUM = Space


def run_of(program: Program, core: Device | None = None, rules: Policy | None = None) -> Run:
    core, rules = core or device("trn2"), rules or policy("nki")
    memory = plan_memory(program, core, rules)
    return Run("kernel", program, memory, core, rules, predict(program, memory, core, rules))


def pipeline(passes: int = 6) -> Program:
    """Loads, a matmul into the same bank, a drain and a store, each pass."""
    b = Builder()
    x, y, psum = b.tensor(HBM, 1 << 17), b.tensor(HBM, 1 << 17), b.tensor(PSUM, 2048, name="sums")
    for _ in range(passes):
        tile, out = b.tensor(SBUF, 1024, "a.py:1"), b.tensor(SBUF, 2048, "a.py:2")
        b.add(load(), tile, x)
        b.add(matmul(), psum, tile, accumulates=False)
        b.add(elementwise(Engine.VECTOR, 512, SBUF, PSUM), out, psum)
        b.add(store(), y, out)
    return b.program()


@cache
def bundled(shape: str = "M=256,K=512,N=1024", name: str = "trn2") -> Run:
    """The default config of the bundled matmul."""
    prepared = prepare(Job("matmul", shape, device=name))
    _, run = observe(prepared.problem, prepared.info.default)
    assert run is not None
    return run
