"""Reports of simulated runs: what bounds a kernel, traces, pictures."""

from tuner.report.chrome import LIMIT, Written, trace_events, write_trace
from tuner.report.picture import write_picture
from tuner.report.run import Run, largest_stall, observe

__all__ = [
    "LIMIT",
    "Run",
    "Written",
    "largest_stall",
    "observe",
    "trace_events",
    "write_picture",
    "write_trace",
]
