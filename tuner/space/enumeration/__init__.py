"""Enumerates the valid configs of a search space, without the product of all values."""

from tuner.space.enumeration.walk import enumerate_codes

__all__ = ["enumerate_codes"]
