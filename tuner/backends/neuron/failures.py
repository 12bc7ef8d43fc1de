"""Why compiling or running failed: a status and a line, from what the child left and wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tuner.backends.base import CandidateError, Status
from tuner.backends.children import tail
from tuner.backends.neuron.probe import signal_name
from tuner.process import Finished

__all__ = ["COMPILE", "MEASURE", "REFUSED", "VERIFY", "failure"]

COMPILE, VERIFY, MEASURE = "compile", "verify", "measure"
GIB = 1 << 30
MAX_LINE = 300
_MEMORY = re.compile(r"out of memory in (sbuf|psum)", re.IGNORECASE)
_NO_MEMORY = re.compile(r"^(MemoryError\b|.*std::bad_alloc)", re.MULTILINE)
"""What is refused memory before it is seen to have too much says so itself."""
_CODE = re.compile(r"\bNCC_[A-Z]+[0-9]+\b")
_RAISED = re.compile(r"^(?:[\w.]+\.)?(NkiValidationError|AssertionError)\b(?:: *(.*))?")
_EXCEPTION = re.compile(r"[\w.]*(?:Error|Exception|Exit|Interrupt)\b")
_RUNTIME = re.compile(r"\b(NRT_[A-Z_]+)\s*\(\s*(\d+)\s*\):?")
REFUSED = "NRT_FAILURE"
"""What the runtime says of a NEFF that it cannot load."""
_TIMED_OUT = "NRT_TIMEOUT"


def failure(
    phase: str,
    finished: Finished,
    answer: Mapping[str, Any] | None,
    *,
    deadline_s: float,
    memory_bytes: int | None,
    limit: str = "",
) -> CandidateError:
    """Returns what a child that failed says of its candidate.

    Args:
        phase: "compile", "verify" or "measure".
        finished: How the child ended.
        answer: What it left, e.g. {"failed": {"where": "load", "text": "..."}}.
        deadline_s: Seconds that it had.
        memory_bytes: What it was allowed.
        limit: How to say what it had, where that is made of several limits.
    """
    status = Status.COMPILE if phase == COMPILE else Status.RUNTIME
    if finished.ended == "timeout":
        limit = limit or f"{deadline_s:g} s in {phase}"
        return CandidateError(Status.TIMEOUT, f"took longer than {limit}")
    told = dict((answer or {}).get("failed", {}))
    said = "\n".join(part for part in (str(told.get("text", "")), finished.stderr) if part)
    if finished.ended == "memory" or (memory_bytes and _NO_MEMORY.search(said)):
        most = f"more than {memory_bytes / GIB:.1f} GiB" if memory_bytes else "too much"
        return CandidateError(status, f"memory: {most} in {phase}")
    known = _compiler(said) if phase == COMPILE else None
    known = known or _runtime(said, str(told.get("where", "")))
    if known is not None:
        return known
    if finished.ended == "signal":
        by = f"killed by {signal_name(finished.code or 0)}"
        what = f"compiler crash: {by}" if phase == COMPILE else f"{by} in {phase}"
        return CandidateError(status, _with_tail(what, finished.stderr))
    if told:
        return CandidateError(status, f"{told.get('where')} failed: {tail(str(told.get('text')))}")
    if finished.code == 0:
        return CandidateError(status, _with_tail(f"no result of {phase}", finished.stderr))
    last = _raised(said) or f"exit code {finished.code}"
    what = "compiler error" if phase == COMPILE else f"{phase} failed"
    return CandidateError(status, f"{what}: {last[:MAX_LINE]}")


def _raised(said: str) -> str:
    """Returns the exception at the end of a traceback, else the last line."""
    lines = [line.strip() for line in said.strip().splitlines()]
    for index in range(len(lines) - 1, -1, -1):
        if _EXCEPTION.match(lines[index]):
            return " ".join(lines[index:])
    return lines[-1] if lines else ""


def _compiler(said: str) -> CandidateError | None:
    """Recognises what the compiler says; the last word counts, save that of memory."""
    lines = [" ".join(line.split()) for line in said.splitlines()]
    for line in lines:
        if found := _MEMORY.search(line):
            reason = f"{found[1].lower()} out of memory: {line[:MAX_LINE]}"
            return CandidateError(Status.COMPILE, reason)
    for line in reversed(lines):
        if found := _CODE.search(line):
            rest = line[found.end() :].lstrip(": ])")
            return CandidateError(Status.COMPILE, f"{found[0]}: {rest[:MAX_LINE]}")
    for line in reversed(lines):
        if found := _RAISED.match(line):
            return CandidateError(Status.COMPILE, f"{found[1]}: {(found[2] or '')[:MAX_LINE]}")
    return None


def _runtime(said: str, where: str) -> CandidateError | None:
    """Recognises the codes of the runtime."""
    found = _RUNTIME.search(said)
    if found is None:
        return None
    code = f"{found[1]}({found[2]})"
    line = next(line for line in said.splitlines() if found[0] in line)
    rest = " ".join(_RUNTIME.sub("", line, count=1).split()).strip(": ")
    reason = f"{code}: {rest[:MAX_LINE]}"
    if found[1] == REFUSED and where == "load":
        reason = f"{code} on load: compiled for another target than this device, or damaged"
    status = Status.TIMEOUT if found[1] == _TIMED_OUT else Status.RUNTIME
    return CandidateError(status, reason)


def _with_tail(what: str, said: str) -> str:
    end = tail(said)
    return f"{what}: {end}" if end else what
