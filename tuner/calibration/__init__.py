"""Fits the constants of a device to measured times and writes a device file of the user's own."""

from tuner.calibration.calibrating import (
    Calibration,
    Compared,
    Fitted,
    Listed,
    calibrate,
    check_target,
    parameters,
    write,
)
from tuner.calibration.measurements import COLUMNS

__all__ = [
    "COLUMNS",
    "Calibration",
    "Compared",
    "Fitted",
    "Listed",
    "calibrate",
    "check_target",
    "parameters",
    "write",
]
