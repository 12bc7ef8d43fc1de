"""Tuning jobs: a study for one workload on one device by one backend, from space to record."""

from tuner.job.outcome import Outcome, Progress
from tuner.job.run import tune
from tuner.job.settings import SERIAL, VERIFY, Job, Prepared, prepare

__all__ = ["SERIAL", "VERIFY", "Job", "Outcome", "Prepared", "Progress", "prepare", "tune"]
