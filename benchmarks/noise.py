"""What repeats and finals are worth: prints a table, asserts nothing.

python -m benchmarks.noise [--noise 0.03] [--runs 200] [--json]

Configs of the bundled matmul have an exact simulated time; noise is added as `--noise` of
`nki-tuner tune` does. A run tries 100 of them and names the best: with one sample each, with a
fixed number, by the rule of `tuner.backends.repeats`, and with the finals of `tuner.job.finals`
behind each. The 100 are drawn from all configs, or from the fastest tenth, where a good search
spends its trials.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.backends import Candidate, Capabilities, Measurement, Mismatch, Repeats, evaluate
from tuner.backends import load_backend as load
from tuner.backends.noise import Noisy
from tuner.cli.common import table
from tuner.database import Trial, best_trial
from tuner.job import Job, prepare
from tuner.job.finals import finalists, incumbent_interval, outcomes, remeasure
from tuner.runtime.rules import Config

WORKLOAD = "M=256,K=512,N=1024"
POOL, TRIALS, FINALISTS = 2000, 100, 5


@dataclass(frozen=True)
class Method:
    """How samples are spent; `fixed` None is the rule, of at most `most` samples."""

    name: str
    fixed: int | None = None
    finals: int = 0
    most: int = 20

    def repeats(self, trials: Sequence[Trial], best_us: float | None) -> Repeats:
        if self.fixed is not None:
            return Repeats(self.fixed, least=self.fixed)
        return Repeats(self.most, incumbent_us=incumbent_interval(trials, best_us))


METHODS = [
    Method("1 sample", 1),
    Method("5 samples", 5),
    Method("20 samples", 20),
    Method("20 samples + finals", 20, FINALISTS),
    Method("rule"),
    Method("rule + finals", finals=FINALISTS),
]


class Known:
    """A backend of exact times; a config is its number."""

    def __init__(self, times_us: Sequence[float]) -> None:
        self._times_us = times_us

    def prepare(self) -> None:
        pass

    def compile(self, candidate: Candidate) -> int:
        return int(candidate.config["number"])

    def verify(self, candidate: Candidate) -> Mismatch | None:
        return None

    def measure(self, artifact: int) -> tuple[float | None, dict[str, Any]]:
        return self._times_us[artifact], {}

    def fingerprint(self) -> dict[str, Any]:
        return {"backend": "known"}

    def capabilities(self) -> Capabilities:
        return Capabilities("simulated", 1)


@dataclass
class Inline:
    """An executor for a backend that is there already."""

    backend: Noisy
    waiting: deque[Candidate] = field(default_factory=deque)
    capacity: int = 1
    capacity_ahead: int = 1

    def submit(self, candidate: Candidate) -> None:
        self.waiting.append(candidate)

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        return [evaluate(self.backend, self.waiting.popleft())] if self.waiting else []

    def close(self) -> None:
        self.waiting.clear()


def exact_times(count: int) -> list[float]:
    """Simulated times [us] of configs drawn from the bundled matmul's space; fastest first."""
    prepared = prepare(Job("matmul", WORKLOAD))
    backend = load(prepared.problem)
    rows = np.random.default_rng(0).permutation(len(prepared.space))[:count]
    found = [evaluate(backend, Candidate(0, prepared.space.config(int(row)))) for row in rows]
    return sorted(each.latency_us for each in found if each.latency_us is not None)


def run(method: Method, times_us: Sequence[float], noise: float, seed: int) -> dict[str, float]:
    """One job; returns whether the best was named, the loss, and the samples spent."""
    executor = Inline(Noisy(Known(times_us), noise, seed))
    trials: list[Trial] = []
    best_us: float | None = None
    for number in range(len(times_us)):
        config: Config = {"number": number}
        executor.submit(Candidate(number, config, repeats=method.repeats(trials, best_us)))
        (done,) = executor.wait()
        trials.append(_trial(number, config, done))
        assert done.latency_us is not None
        best_us = min(best_us or done.latency_us, done.latency_us)
    samples = sum(trial.figures["samples"] for trial in trials)
    rounds, again = 0, finalists(trials, method.finals)
    if again:
        found = remeasure(executor, [t.config for t in again], seed=seed, first=method.most)
        assert found is not None
        for trial, (config, new) in zip(again, outcomes(again, found), strict=True):
            trials[trial.number] = _trial(trial.number, config, new)
        rounds = found.rounds * len(again)
    best = best_trial(trials)
    assert best is not None
    assert best.latency_us is not None
    named_us, fastest_us = times_us[best.number], min(times_us)
    return {
        "named": float(named_us == fastest_us),
        "within_1_percent": float(named_us <= 1.01 * fastest_us),
        "loss_percent": 100 * (named_us / fastest_us - 1),
        "told_error_percent": 100 * (best.latency_us / named_us - 1),
        "samples_per_trial": samples / len(trials),
        "samples_of_finals": float(rounds),
    }


def _trial(number: int, config: Config, done: Measurement) -> Trial:
    return Trial(number, config, done.status, done.latency_us, "", False, done.figures, {}, 0.0)


def compare(noise: float, runs: int, pool: int = POOL) -> dict[str, dict[str, dict[str, float]]]:
    """Returns population -> method -> mean figures."""
    times = np.array(exact_times(pool))
    populations = {"all configs": times, "fastest tenth": times[: len(times) // 10]}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, population in populations.items():
        found[name] = {}
        for method in METHODS:
            each = []
            for seed in range(runs):
                drawn = np.random.default_rng(seed).permutation(population)[:TRIALS]
                each.append(run(method, drawn.tolist(), noise, seed))
            found[name][method.name] = {
                figure: float(np.mean([one[figure] for one in each])) for figure in each[0]
            }
    return found


def row(method: str, figures: Mapping[str, float]) -> list[str]:
    return [
        method,
        f"{figures['named']:.0%}",
        f"{figures['within_1_percent']:.0%}",
        f"{figures['loss_percent']:.2f} %",
        f"{figures['told_error_percent']:+.2f} %",
        f"{figures['samples_per_trial']:.1f}",
        f"{figures['samples_of_finals']:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, default=0.03)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = compare(options.noise, options.runs)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    columns = ["method", "best named", "within 1 %", "loss", "its time off", "samples a trial"]
    for population, methods in found.items():
        title = f"{TRIALS} of {population} of matmul {WORKLOAD} (simulated), noise {options.noise}"
        rows = [row(name, figures) for name, figures in methods.items()]
        table(title, [*columns, "finals' samples"], rows)


if __name__ == "__main__":
    main()
