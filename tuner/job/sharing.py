"""The study that a job shares with other drivers: its name, its opening, and what is said of it."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tuner.database import StudyInfo, Trial
from tuner.job.changes import changed
from tuner.job.resuming import identity
from tuner.job.settings import Prepared
from tuner.job.shared_search import FROM
from tuner.search.shared import SharedStudy, plain, shared_study

__all__ = ["SHARED", "new_driver", "opened", "sharing"]

SHARED = "shared"
"""Setting of a study that is shared with other drivers."""
MOST_NAMED = 5


def new_driver() -> str:
    """Returns a name for a driver that no other has."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64]
    return f"{host}-{secrets.token_hex(4)}"


@contextmanager
def opened(prepared: Prepared) -> Iterator[SharedStudy | None]:
    """Opens the study that a job shares; None for a job that shares none.

    Raises:
        TunerError: The storage cannot be used.
    """
    url = prepared.job.storage
    if url is None:
        yield None
        return
    info = prepared.info
    about = {
        "workload": list(info.key),
        "fingerprint": dict(info.fingerprint),
        "settings": {k: v for k, v in identity(info).items() if k not in info.fingerprint},
    }
    with shared_study(url, _name(info), about, prepared.space) as shared:
        yield shared


def _name(info: StudyInfo) -> str:
    """Returns the name of the study of all drivers that measure the same in the same way."""
    made_of = json.dumps([info.key, identity(info)], sort_keys=True, default=str)
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    return f"{' '.join(info.key)[:200]} {digest}"


def sharing(shared: SharedStudy, info: StudyInfo, trials: Sequence[Trial]) -> str:
    """Says who measured the trials of a study, and where it is new what sets it apart from another
    one of the workload.
    """
    theirs = Counter(str(trial.figures[FROM]) for trial in trials if FROM in trial.figures)
    own = len(trials) - theirs.total()
    told = f"{shared.name!r}, {shared.link.place}: {own} trials by this driver"
    told += "".join(f", {count} by {driver}" for driver, count in theirs.most_common(MOST_NAMED))
    if len(theirs) > MOST_NAMED:
        told += f" and {len(theirs) - MOST_NAMED} more"
    if shared.others is not None:
        names = ", ".join(_differences(shared.others, info)) or "the format"
        told += f"; a study of its own: {names} is not that of another study of this workload there"
    return told


def _differences(others: Mapping[str, Any], info: StudyInfo) -> tuple[str, ...]:
    before: dict[str, Any] = {}
    for part in ("fingerprint", "settings"):
        held = others.get(part)
        before |= held if isinstance(held, dict) else {}
    return tuple(plain(name) for name in changed(before, identity(info)))
