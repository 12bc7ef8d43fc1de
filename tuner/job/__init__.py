"""Tuning jobs: a study for one workload on one device by one backend, from space to record."""

from tuner.job.outcome import Outcome, Progress
from tuner.job.recording import MAX_CONFIGS, Recorded, record
from tuner.job.replaying import Replay, replay
from tuner.job.run import tune
from tuner.job.settings import SERIAL, VERIFY, Job, Prepared, prepare

__all__ = [
    "MAX_CONFIGS",
    "SERIAL",
    "VERIFY",
    "Job",
    "Outcome",
    "Prepared",
    "Progress",
    "Recorded",
    "Replay",
    "prepare",
    "record",
    "replay",
    "tune",
]
