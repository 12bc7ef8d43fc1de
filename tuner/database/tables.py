"""Exports records as a table for the run time, in one readable JSON file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuner.backends import REPLAY
from tuner.database.records import Best, Filter, made_noise, records
from tuner.database.store import Store
from tuner.database.studies import Study
from tuner.runtime.errors import TunerError
from tuner.runtime.loading import SCHEMA, SCHEMA_VERSION
from tuner.runtime.rules import Rules
from tuner.space import Definition, space_argument

__all__ = ["Exported", "export", "table_kernel"]


@dataclass(frozen=True)
class Exported:
    """What an export wrote: a record a workload.

    Attributes:
        left_out: Records of kernels that, or whose search space, have changed since: a table holds
            one version of each kernel.
    """

    written: tuple[Best, ...]
    left_out: tuple[Best, ...]


def table_kernel(definition: Definition) -> dict[str, Any]:
    """Returns a kernel's entry in a table: what the run time must know to check a config."""
    words = {name: list(words) for name, words in definition.variants.items()}
    return {
        "space": space_argument(definition),
        "dims": list(definition.dims),
        "dtypes": list(definition.dtypes),
        "arguments": {spec.name: spec.text for spec in (*definition.inputs, *definition.outputs)},
        **({"variants": words} if words else {}),
        **_rules(definition.rules),
    }


def _rules(rules: Rules) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": p.name, "values": list(p.values), "default": p.default}
            | ({} if p.when is None else {"when": p.when.text})
            for p in rules.parameters
        ],
        "constraints": [{"expr": c.expr.text, "why": c.why} for c in rules.constraints],
    }


def export(
    results: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    shape: str | None = None,
    device: str | None = None,
    study: int | Collection[int] | None = None,
    command: str = "",
) -> Exported:
    """Writes the best config of every workload in a results folder as a table.

    Args:
        results: The results folder.
        output: The file to write; it is replaced as a whole or not at all.
        kernel: Takes this kernel only.
        shape: Takes this workload only, e.g. "M=1024,K=4096,N=4096".
        device: Takes this device only.
        study: Takes this study only, or these.
        command: The command that makes the table anew; it is written into it.

    Returns:
        What was written and what was left out.

    Raises:
        TunerError: Nothing to export, or the file cannot be written.
    """
    with Store(results) as store:
        found = records(store, Filter(kernel, shape, device, study))
        if found and all(made_noise(best.study) for best in found):
            raise TunerError(f"{store.path}: nothing to export but times with made noise (--noise)")
        found = [best for best in found if _real(best.study)]
        if not found:
            raise TunerError(f"{store.path}: no correct trial to export")
        for best in found:
            if not {"kernel", "device"} <= set(best.study.info.rules):
                raise TunerError(f"{store.path}: study {best.study.id} lacks its kernel's rules")
    newest = {best.study.info.kernel: best.study for best in sorted(found, key=_created)}
    current = [best for best in found if _version(best.study) == _version(newest[_kernel(best)])]
    _write(Path(output), _table(current, command))
    return Exported(tuple(current), tuple(best for best in found if best not in current))


def _real(study: Study) -> bool:
    """Whether its times are those of a kernel: not replayed, and without made noise."""
    return study.info.backend != REPLAY and not made_noise(study)


def _created(best: Best) -> float:
    return best.study.created_at


def _kernel(best: Best) -> str:
    return best.study.info.kernel


def _rules_of(study: Study) -> Any:
    return study.info.rules["kernel"]


def _version(study: Study) -> tuple[Any, Any]:
    return _rules_of(study), study.info.fingerprint.get("kernel_hash")


def _table(found: Sequence[Best], command: str) -> dict[str, Any]:
    by_age = sorted(found, key=_created)  # the newest knows most facts of a device
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"command": command} if command else {}),
        "kernels": {_kernel(best): _rules_of(best.study) for best in found},
        "devices": {best.study.info.device: best.study.info.rules["device"] for best in by_age},
        "records": [_record(best) for best in found],
    }


def _record(best: Best) -> dict[str, Any]:
    info = best.study.info
    return {
        "kernel": info.kernel,
        "sizes": dict(info.sizes),
        "dtype": info.dtype,
        "device": info.device,
        "backend": info.backend,
        "kind": info.kind,
        "config": best.trial.config,
        "latency_us": best.trial.latency_us,
        "default_latency_us": best.default_latency_us,
        "trials": best.trials,
        "verified": best.trial.verified,
        "fingerprint": dict(info.fingerprint),
        "command": info.command,
        "error_percent": best.trial.figures.get("error_percent"),
        "default_config": info.default,
        "roofline_us": info.roofline_us or None,
    }


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Writes to a temporary file beside the target, then renames it."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise TunerError(f"{path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            raise TunerError(f"{path}: {error.strerror or error}") from None
        raise
