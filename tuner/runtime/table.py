"""Looks tuned configs up in an exported table. Standard library only; made for the serving
process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.rules import DTYPE_BYTES, Config, Rules, Value
from tuner.runtime.sizes import (
    Sizes,
    Variants,
    checked_sizes,
    dims_of,
    variant_values,
    words_of,
    workload_key,
)

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Answer", "Kernel", "Record", "Table", "check_sizes"]

MAX_CACHED_ANSWERS = 65_536


@dataclass(frozen=True)
class Record:
    """The best trial of one tuning job.

    Attributes:
        sizes: Sizes by dim, then the variants that are not at their default.
        kind: "simulated" or "measured": what its times are.
        latency_us: The best config's time, in microseconds.
        default_latency_us: The default config's time on the same workload, None if it failed.
        error_percent: How far such times are off, where the backend says so.
        default_config: The default config of the workload.
        roofline_us: The least time that the device could take, in microseconds, where it is known.
        fingerprint: What the times depend on: kernel and space hash, device, backend and its
            version.
    """

    kernel: str
    sizes: Sizes
    dtype: str
    device: str
    backend: str
    kind: str
    config: Config
    latency_us: float
    default_latency_us: float | None
    trials: int
    verified: bool
    fingerprint: Mapping[str, Any]
    command: str
    error_percent: float | None = None
    default_config: Config | None = None
    roofline_us: float | None = None


@dataclass(frozen=True)
class Kernel:
    """What the run time must know of a kernel: its dims, its arguments' shapes, its legal configs.

    Attributes:
        space: What `nki-tuner tune` takes to tune it.
        arguments: Each tensor as the search space gives it.
        variants: What it may compute; the default of each first.
    """

    name: str
    space: str
    dims: tuple[str, ...]
    dtypes: tuple[str, ...]
    arguments: Mapping[str, Any]
    rules: Rules
    variants: Variants = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a lookup found.

    Attributes:
        config: The parameters to call the kernel with. Shared between lookups: do not change it.
        match: "exact" (tuned for this workload), "nearest" (tuned for a near one and legal for this
            one) or "default" (nothing near enough).
        why: What was asked, what was found and, unless exact, the command that would tune it.
        kind: "simulated" or "measured" times chose it; None for a default.
        record: The record it came from; None for a default.
    """

    config: Config
    match: str
    why: str
    kind: str | None = None
    record: Record | None = None


@dataclass(frozen=True)
class _Question:
    """A workload that is looked up, with every name resolved."""

    kernel: Kernel
    sizes: Sizes
    dtype: str
    device: str

    def __str__(self) -> str:
        return f"{self.kernel.name} {workload_key(self.sizes)} {self.dtype} on {self.device}"

    @property
    def tune(self) -> str:
        """The command that would tune it."""
        import shlex

        options = f"--shape {workload_key(self.sizes)} --dtype {self.dtype} --device {self.device}"
        return f"to tune it: nki-tuner tune {shlex.quote(self.kernel.space)} {options}"

    def scope(self, facts: Mapping[str, Value]) -> dict[str, Value]:
        """The names that constraints read, besides parameters."""
        device = {f"device.{name}": value for name, value in facts.items()}
        words = variant_values(self.kernel.variants, self.sizes)
        return {**self.sizes, **words, "dtype_bytes": DTYPE_BYTES[self.dtype], **device}

    def distance(self, record: Record) -> float:
        """How far a record's workload is: the sum over dims of |log2 of the ratio|."""
        theirs = dims_of(record.sizes)
        return sum(abs(math.log2(theirs[dim] / size)) for dim, size in dims_of(self.sizes).items())

    def named(self, record: Record) -> str:
        """A record as messages name it."""
        return f"{record.kind} record {workload_key(record.sizes)}"


@dataclass
class Table:
    """Tuned configs of one file. Lookups are thread-safe and remembered.

    Attributes:
        command: The command that makes the whole table anew; empty where it is not known.
    """

    path: str
    kernels: Mapping[str, Kernel]
    devices: Mapping[str, Mapping[str, Value]]
    records: tuple[Record, ...]
    command: str = ""
    _answers: dict[Any, Answer] = field(default_factory=dict, repr=False)
    _groups: dict[tuple[str, str, str], list[Record]] = field(default_factory=dict, repr=False)
    _exact: dict[tuple[Any, ...], list[Record]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for record in sorted(self.records, key=lambda r: r.kind != "measured"):
            group = (record.kernel, record.dtype, record.device)
            self._groups.setdefault(group, []).append(record)
            self._exact.setdefault((*group, *record.sizes.items()), []).append(record)

    def lookup(
        self,
        kernel: str,
        *,
        dtype: str | None = None,
        device: str | None = None,
        backend: str | None = None,
        expect: Mapping[str, Any] | None = None,
        max_distance: float = 1.0,
        **sizes: int | str,
    ) -> Answer:
        """Finds the config for a workload.

        Args:
            kernel: A kernel of this table.
            dtype: The operands' dtype; may be left out when the kernel's records have only one.
            device: May be left out when the kernel's records have only one.
            backend: Takes records of this backend only; else measured ones go before simulated
                ones.
            expect: Fingerprint entries that a record must have, e.g. `{"kernel_hash": ...}`; others
                are passed over and named in the answer.
            max_distance: How far a "nearest" workload may be: the sum over dims of |log2 of the
                ratio|.
            **sizes: One positive size a dim, e.g. `M=1024, K=4096, N=4096`, and the variants that
                are not at their default, e.g. `epilogue="bias"`; other variants are never near.

        Returns:
            The answer; `match` and `why` say how it was found.

        Raises:
            TunerError: An unknown kernel, dim, variant, dtype or device, or a missing one.
        """
        types = map(type, sizes.values())  # 1.0 and True are no 1
        key = (kernel, dtype, device, backend, max_distance, *sizes.items(), *types)
        if expect is None:
            answer = self._answers.get(key)
            if answer is not None:
                return answer
        answer = self._find(kernel, sizes, dtype, device, backend, expect or {}, max_distance)
        if expect is None:
            if len(self._answers) >= MAX_CACHED_ANSWERS:
                self._answers.clear()
            self._answers[key] = answer
        return answer

    def _find(
        self,
        name: str,
        sizes: Sizes,
        dtype: str | None,
        device: str | None,
        backend: str | None,
        expect: Mapping[str, Any],
        max_distance: float,
    ) -> Answer:
        asked = self._question(name, sizes, dtype, device)
        answer = self._answer(asked, backend, expect, max_distance)
        note = self.devices[asked.device].get("note")
        return replace(answer, why=f"{answer.why}; note: {note}") if note else answer

    def _answer(
        self,
        asked: _Question,
        backend: str | None,
        expect: Mapping[str, Any],
        max_distance: float,
    ) -> Answer:
        if backend is not None and all(r.backend != backend for r in self.records):
            raise unknown(
                "backend in this table:", backend, sorted({r.backend for r in self.records})
            )
        group = (asked.kernel.name, asked.dtype, asked.device)
        notes: list[str] = []
        for record in self._exact.get((*group, *asked.sizes.items()), ()):
            if backend in (None, record.backend) and _fits(record, expect, asked, notes):
                why = f"{asked}: {asked.named(record)}"
                return Answer(record.config, "exact", why, record.kind, record)
        every = [r for r in self._groups.get(group, ()) if backend in (None, r.backend)]
        records = [r for r in every if words_of(r.sizes) == words_of(asked.sizes)]
        if every and not records:
            notes.append("the table has records of other variants only")
        scope = asked.scope(self.devices[asked.device])
        near = _nearest(asked, records, scope, expect, max_distance, notes)
        return near or _default(asked, scope, notes)

    def _question(
        self, name: str, sizes: Sizes, dtype: str | None, device: str | None
    ) -> _Question:
        if name not in self.kernels:
            raise unknown("kernel", name, self.kernels)
        kernel = self.kernels[name]
        sizes = check_sizes(kernel, sizes)
        groups = [group for group in self._groups if group[0] == name]
        dtype = _only("dtype", dtype, kernel.dtypes, [group[1] for group in groups], name)
        device = _only("device", device, self.devices, [group[2] for group in groups], name)
        return _Question(kernel, sizes, dtype, device)


def _fits(record: Record, expect: Mapping[str, Any], asked: _Question, notes: list[str]) -> bool:
    """Whether a record has the expected fingerprint; notes it where not."""
    stale = [name for name, value in expect.items() if record.fingerprint.get(name) != value]
    if stale:
        notes.append(f"the {asked.named(record)} has another {', '.join(stale)}")
    return not stale


def _nearest(
    asked: _Question,
    records: list[Record],
    scope: Mapping[str, Value],
    expect: Mapping[str, Any],
    max_distance: float,
    notes: list[str],
) -> Answer | None:
    """Answers with the nearest other workload whose config, completed for this one, is legal
    here.
    """
    rules = asked.kernel.rules
    away = [(distance, i) for i, r in enumerate(records) if (distance := asked.distance(r)) > 0]
    for distance, i in sorted(away):
        record = records[i]
        named = asked.named(record)
        if distance > max_distance:
            notes.append(f"the nearest is the {named}, {distance:.2f} away, limit {max_distance:g}")
            return None
        if not _fits(record, expect, asked, notes):
            continue
        config = rules.complete(record.config, scope)
        broken = rules.broken(config, scope)
        if broken is None:
            why = f"{asked}: nearest {named}, {distance:.2f} away; {asked.tune}"
            return Answer(config, "nearest", why, record.kind, record)
        notes.append(f"the {named} is not legal here ({broken.why})")
    return None


def _default(asked: _Question, scope: Mapping[str, Value], notes: list[str]) -> Answer:
    """Answers with the default config, or the legal one nearest to it."""
    rules = asked.kernel.rules
    config = rules.nearest_legal(rules.complete({}, scope), scope)
    if config is None:
        raise TunerError(f"{asked}: found no config that is legal for this workload")
    because = "; ".join(notes[:3]) or "the table has no record of it"
    why = f"{asked}: the default config, because {because}; {asked.tune}"
    return Answer(config, "default", why)


def check_sizes(kernel: Kernel, sizes: Mapping[str, Any]) -> dict[str, int | str]:
    """Returns sizes in the one way to write them; raises TunerError unless there is one positive
    whole number for each dim, and besides only variants.
    """
    return checked_sizes(kernel.name, kernel.dims, kernel.variants, sizes)


def _only(what: str, given: str | None, known: Iterable[str], found: list[str], kernel: str) -> str:
    if given is not None:
        if given not in known:
            raise unknown(what, given, known)
        return given
    choices = list(dict.fromkeys(found)) or list(known)
    if len(choices) == 1:
        return choices[0]
    raise TunerError(
        f"{kernel}: the table has several {what}s, give {what}= one of {', '.join(choices)}"
    )
