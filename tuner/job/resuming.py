"""Finds the study that a job goes on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tuner.database import Store, Study, StudyInfo
from tuner.job.changes import HASHES, changed, differences
from tuner.job.settings import ENDS
from tuner.job.warm_start import SETTING
from tuner.runtime.errors import TunerError

__all__ = ["DRIVER", "changes", "find_study", "finished_study", "has_study", "identity", "job_key"]

DRIVER = "driver"
"""Setting of a study that is shared with other drivers: the name of this one."""


def find_study(store: Store, info: StudyInfo) -> Study:
    """Returns the newest study that was started as `info` would be, and states anew its command and
    what ends it.

    Raises:
        TunerError: There is none; says what differs from the newest study of the workload.
    """
    studies = store.studies()
    same = _same(studies, info)
    if not same:
        mine = _of_workload(studies, info)
        if not mine:
            raise TunerError(
                f"nothing to resume: {store.path} has no study of {info.kernel} {info.shape} "
                f"{info.dtype} on {info.device}"
            )
        old, now = identity(mine[-1].info), identity(info)
        names = differences(old, now)
        told = ", ".join(f"{name} was {old.get(name)}, is {now.get(name)}" for name in names)
        raise TunerError(
            f"cannot resume study {mine[-1].id}: {told}; start a new one without --resume"
        )
    study = same[-1]
    store.restate(study.id, info.command, {**study.info.settings, **_ends(info)})
    return study


def finished_study(studies: Sequence[Study], info: StudyInfo) -> Study | None:
    """Returns the newest of the studies that is what `info` would be, to its end, or None."""
    for study in reversed(_same(studies, info)):
        if study.finished_at is not None and _ends(study.info) == _ends(info):
            return study
    return None


def has_study(studies: Sequence[Study], info: StudyInfo) -> bool:
    """Whether `find_study` would find one among them."""
    return bool(_same(studies, info))


def job_key(info: StudyInfo) -> tuple[str, ...]:
    """Returns what is the same for two studies of which one would go on with the other."""
    return (*info.key, json.dumps(identity(info), sort_keys=True))


def changes(studies: Sequence[Study], info: StudyInfo) -> tuple[str, ...]:
    """Returns what changed in our files since the newest of the studies that is otherwise what
    `info` would be; empty if there is none.
    """

    def asked(of: StudyInfo) -> dict[str, Any]:
        return {name: value for name, value in identity(of).items() if name not in HASHES}

    for study in reversed(_of_workload(studies, info)):
        if asked(study.info) == asked(info):
            return changed(study.info.fingerprint, info.fingerprint)
    return ()


def _of_workload(studies: Sequence[Study], info: StudyInfo) -> list[Study]:
    return [study for study in studies if study.info.key == info.key]


def _same(studies: Sequence[Study], info: StudyInfo) -> list[Study]:
    now = identity(info)
    return [study for study in _of_workload(studies, info) if identity(study.info) == now]


def identity(info: StudyInfo) -> dict[str, Any]:
    """Returns what its times and its proposals depend on, but what it keeps: its seeds, say."""
    every = {**info.fingerprint, **info.settings}
    return {name: value for name, value in every.items() if name not in (SETTING, ENDS, DRIVER)}


def _ends(info: StudyInfo) -> dict[str, Any]:
    return {name: value for name, value in info.settings.items() if name == ENDS}
