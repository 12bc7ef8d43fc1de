"""Batches: many tuning jobs of one file, one after the other, resumed as a whole."""

from tuner.job.batches.outcome import Batch, BatchProgress, Done
from tuner.job.batches.reading import OVERRIDES, read_jobs
from tuner.job.batches.running import batch

__all__ = ["OVERRIDES", "Batch", "BatchProgress", "Done", "batch", "read_jobs"]
