"""Executors: where candidates are evaluated."""

from tuner.execution.base import Executor, SerialExecutor
from tuner.execution.cluster import RayExecutor
from tuner.execution.session import LOCAL, Session

__all__ = ["LOCAL", "Executor", "RayExecutor", "SerialExecutor", "Session"]
