"""Finds the study that a job goes on with."""

from __future__ import annotations

from typing import Any

from tuner.database import Store, Study, StudyInfo
from tuner.job.warm_start import SETTING
from tuner.runtime.errors import TunerError

__all__ = ["find_study"]


def find_study(store: Store, info: StudyInfo) -> Study:
    """Returns the newest study that was started as `info` would be, and states its command anew.

    Raises:
        TunerError: There is none; says what differs from the newest study of the workload.
    """
    mine = [study for study in store.studies() if study.info.key == info.key]
    if not mine:
        raise TunerError(
            f"nothing to resume: {store.path} has no study of {info.kernel} {info.shape} "
            f"{info.dtype} on {info.device}"
        )
    now = _identity(info)
    then = [_identity(study.info) for study in mine]
    if now not in then:
        old = then[-1]
        names = [name for name in {**old, **now} if old.get(name) != now.get(name)]
        told = ", ".join(f"{name} was {old.get(name)}, is {now.get(name)}" for name in names)
        raise TunerError(
            f"cannot resume study {mine[-1].id}: {told}; start a new one without --resume"
        )
    study = next(s for s, found in zip(mine[::-1], then[::-1], strict=True) if found == now)
    store.restate(study.id, info.command)
    return study


def _identity(info: StudyInfo) -> dict[str, Any]:
    """What its times and its proposals depend on, but its seeds, which it keeps."""
    every = {**info.fingerprint, **info.settings}
    return {name: value for name, value in every.items() if name != SETTING}
