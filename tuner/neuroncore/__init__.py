"""One NeuronCore: devices, memory, and the time a recorded program takes."""

from tuner.neuroncore.device import (
    TAGS,
    Constant,
    Device,
    constants,
    device,
    device_from_source,
    device_names,
    device_source,
)
from tuner.neuroncore.policy import ON_OVERFLOW, Policy, policy, policy_names

__all__ = [
    "ON_OVERFLOW",
    "TAGS",
    "Constant",
    "Device",
    "Policy",
    "constants",
    "device",
    "device_from_source",
    "device_names",
    "device_source",
    "policy",
    "policy_names",
]
