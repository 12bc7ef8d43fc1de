"""Systems: which units there are, how many, and which of them run what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tuner.neuroncore.device_files import is_file
from tuner.papi.files import kept, names, table_of
from tuner.papi.hardware import Gpu, Link, Pim, Unit, hardware
from tuner.papi.models import Model
from tuner.runtime.errors import TunerError, unknown

__all__ = ["GPU", "PIM", "System", "kv_tokens", "requests_that_fit", "system", "system_names"]

FOLDER = "systems"
GPU, PIM = "gpu", "pim"
"""What fully-connected kernels may run on."""
MOST = 100_000
GIB = 1 << 30


class System(msgspec.Struct, frozen=True):
    """A system.

    Attributes:
        gpus: How many.
        fc_stacks: Of memory that holds the weights and computes with them; the GPUs' own memory
            where there are both. None: the weights are in the GPUs' memory.
        attention_stacks: Of memory that holds keys and values and computes with them.
        fc_runs_on: "gpu", "pim" or both.
        reschedule_us: What a change from one to the other costs.
    """

    name: str
    gpu: Gpu | None
    gpus: int
    fc_pim: Pim | None
    fc_stacks: int
    attention_pim: Pim
    attention_stacks: int
    link: Link
    fc_runs_on: tuple[str, ...]
    reschedule_us: float = 0.0

    @property
    def weight_gib(self) -> float:
        """Room for weights."""
        if self.fc_pim is not None:
            return self.fc_stacks * self.fc_pim.stack_gib
        assert self.gpu is not None
        return self.gpus * self.gpu.memory_gib

    @property
    def kv_gib(self) -> float:
        """Room for keys and values."""
        return self.attention_stacks * self.attention_pim.stack_gib

    def check_fits(self, model: Model) -> None:
        """Raises TunerError where the model's weights are more than this system has room for."""
        need = model.weight_bytes / GIB
        if need > self.weight_gib:
            raise TunerError(
                f"system {self.name}: the weights of {model.name} take {need:.1f} GiB, "
                f"there is room for {self.weight_gib:g} GiB"
            )


def requests_that_fit(free_gib: float, model: Model, tokens: int) -> float:
    """Returns how many requests of so many tokens each have room for their keys and values, as a
    number that is not yet rounded down.
    """
    return free_gib * GIB / (model.kv_bytes_per_token * tokens)


def kv_tokens(system: System, model: Model) -> int:
    """Returns the tokens, of all live requests together, whose keys and values have room."""
    return int(requests_that_fit(system.kv_gib, model, 1))


class _Some(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: str
    count: int


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fc_runs_on: list[str]
    attention_stacks: _Some
    link: str
    gpus: _Some | None = None
    fc_stacks: _Some | None = None
    reschedule_us: float = 0.0


def system_names() -> list[str]:
    """Returns the names of the shipped systems."""
    return names(FOLDER)


@kept
def system(name: str) -> System:
    """Returns a system: a shipped one by its name, one of the user's by the path of its file.

    A file names its units as `hardware` does, by paths from its own folder.

    Raises:
        TunerError: There is none, or something in its file is wrong.
    """
    table, label, path = table_of("system", name, FOLDER)
    try:
        file = msgspec.convert(table, _File)
    except msgspec.ValidationError as error:
        raise TunerError(f"{label}: {error}") from None
    folder = path.parent
    for word in file.fc_runs_on:
        if word not in (GPU, PIM):
            raise unknown(f"unit in {label}: fc_runs_on:", word, (GPU, PIM))
    runs_on = tuple(dict.fromkeys(file.fc_runs_on))
    needed = {GPU: file.gpus, PIM: file.fc_stacks}
    for word in runs_on or ("",):
        if needed.get(word) is None:
            field = {GPU: "gpus", PIM: "fc_stacks"}.get(word, "fc_runs_on")
            raise TunerError(f"{label}: fc_runs_on = {file.fc_runs_on!r}: lacks {field}")
    if not 0 <= file.reschedule_us <= 1e9:
        raise TunerError(f"{label}: reschedule_us = {file.reschedule_us!r}: expected 0 to 1e9")
    gpu, gpus = _some(label, folder, "gpus", file.gpus, Gpu)
    fc_pim, fc_stacks = _some(label, folder, "fc_stacks", file.fc_stacks, Pim)
    stacks = _some(label, folder, "attention_stacks", file.attention_stacks, Pim)
    link, _ = _some(label, folder, "link", _Some(file.link, 1), Link)
    return System(
        name=path.stem,
        gpu=gpu,
        gpus=gpus,
        fc_pim=fc_pim,
        fc_stacks=fc_stacks,
        attention_pim=stacks[0],
        attention_stacks=stacks[1],
        link=link,
        fc_runs_on=runs_on,
        reschedule_us=file.reschedule_us,
    )


def _some(
    label: str, folder: Path, field: str, some: _Some | None, kind: type[Unit]
) -> tuple[Any, int]:
    if some is None:
        return None, 0
    if not 1 <= some.count <= MOST:
        raise TunerError(f"{label}: {field}: count = {some.count}: expected 1 to {MOST}")
    found = hardware(str(folder / some.unit) if is_file(some.unit) else some.unit)
    if not isinstance(found, kind):
        raise TunerError(
            f"{label}: {field}: {some.unit} is no {kind.__name__.lower()} but a "
            f"{type(found).__name__.lower()}"
        )
    return found, some.count
