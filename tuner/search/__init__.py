"""Search: proposes valid configs, none twice, and learns from their times."""

from tuner.search.driver import Search
from tuner.search.naming import DEFAULT, EXHAUSTIVE, GUIDED, SAMPLERS, full_name, make_sampler
from tuner.search.sampler import ExhaustedError, RowSampler, suggest

__all__ = [
    "DEFAULT",
    "EXHAUSTIVE",
    "GUIDED",
    "SAMPLERS",
    "ExhaustedError",
    "RowSampler",
    "Search",
    "full_name",
    "make_sampler",
    "suggest",
]
