"""Recordings: search spaces of which every config was timed once, and the files that hold them."""

from tuner.backends.recording.files import read_recording, write_recording
from tuner.backends.recording.recorded import Recording

__all__ = ["Recording", "read_recording", "write_recording"]
