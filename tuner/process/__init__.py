"""Child processes: in a group of their own, within limits, and gone when their parent is."""

from tuner.process.reaper import Reaper
from tuner.process.running import Finished, run
from tuner.process.scratch import Scratch
from tuner.process.worker import START, START_S, Failure, Worker

__all__ = ["START", "START_S", "Failure", "Finished", "Reaper", "Scratch", "Worker", "run"]
