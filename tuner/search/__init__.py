"""Search: proposes valid configs, none twice, and learns from their times."""

from tuner.search.driver import Search
from tuner.search.sampler import SAMPLERS, UnseenRows

__all__ = ["SAMPLERS", "Search", "UnseenRows"]
