"""Executors: where candidates are evaluated."""

from tuner.execution.base import Executor, SerialExecutor
from tuner.execution.cluster import LOCAL, RayExecutor

__all__ = ["LOCAL", "Executor", "RayExecutor", "SerialExecutor"]
