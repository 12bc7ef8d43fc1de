"""Tuning jobs: a study for one workload on one device by one backend, from space to record."""

from tuner.job.batches import Batch, BatchProgress, Done, batch
from tuner.job.doctor import Diagnosis, diagnose
from tuner.job.outcome import Outcome, Progress
from tuner.job.preparing import Prepared, prepare
from tuner.job.recording import MAX_CONFIGS, Recorded, record
from tuner.job.replaying import Replay, replay
from tuner.job.settings import SERIAL, VERIFY, Job
from tuner.job.staleness import Checked, Stale, check
from tuner.job.tuning import tune

__all__ = [
    "MAX_CONFIGS",
    "SERIAL",
    "VERIFY",
    "Batch",
    "BatchProgress",
    "Checked",
    "Diagnosis",
    "Done",
    "Job",
    "Outcome",
    "Prepared",
    "Progress",
    "Recorded",
    "Replay",
    "Stale",
    "batch",
    "check",
    "diagnose",
    "prepare",
    "record",
    "replay",
    "tune",
]
