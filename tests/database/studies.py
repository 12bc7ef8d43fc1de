"""Studies and measurements as a job would store them."""

from __future__ import annotations

from typing import Any

from tuner.backends import Measurement, Status
from tuner.database import Store, Study, StudyInfo, Trial, table_kernel
from tuner.neuroncore import device
from tuner.runtime.rules import Config
from tuner.space import find

MATMUL = find("matmul")
DEFAULT: Config = {"tiles_m": 2, "tiles_n": 2, "loop_order": "nkm"}


def info(M: int = 256, **changes: Any) -> StudyInfo:
    settings: dict[str, Any] = {
        "kernel": "matmul",
        "sizes": {"M": M, "K": 512, "N": 1024},
        "dtype": "bfloat16",
        "device": "trn2",
        "backend": "simulator",
        "kind": "simulated",
        "fingerprint": {"kernel_hash": "k1", "model_hash": "m1"},
        "rules": {"kernel": table_kernel(MATMUL), "device": device("trn2").facts()},
        "default": DEFAULT,
        "settings": {"seed": 0},
        "command": f"nki-tuner tune matmul --shape M={M},K=512,N=1024",
        "roofline_us": 4.5,
    }
    return StudyInfo(**{**settings, **changes})


def timed(latency_us: float, **changes: Any) -> Measurement:
    return Measurement(0, Status.CORRECT, "simulated", latency_us, **changes)


def failed(status: Status = Status.COMPILE, reason: str = "too big") -> Measurement:
    return Measurement(0, status, "simulated", reason=reason)


def config(tiles_m: int, **more: Any) -> Config:
    return {**DEFAULT, "tiles_m": tiles_m, **more}


def add(store: Store, about: StudyInfo, *done: tuple[Config, Measurement]) -> Study:
    """Stores a study with its trials."""
    study = store.start(about)
    store.append(study.id, done)
    return study


def outcomes(trials: list[Trial]) -> list[tuple[int, Config, float | None]]:
    return [(trial.number, trial.config, trial.latency_us) for trial in trials]
