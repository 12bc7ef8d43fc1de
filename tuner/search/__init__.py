"""Search: proposes valid configs, none twice, and learns from their times."""

from tuner.search.driver import Search
from tuner.search.naming import DEFAULT, SAMPLERS, UNGUIDED, check_sampler, make_sampler
from tuner.search.sampler import ExhaustedError, RowSampler, suggest

__all__ = [
    "DEFAULT",
    "SAMPLERS",
    "UNGUIDED",
    "ExhaustedError",
    "RowSampler",
    "Search",
    "check_sampler",
    "make_sampler",
    "suggest",
]
