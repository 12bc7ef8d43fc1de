"""Search spaces: the TOML files, the workloads they are bound to, and their valid configs."""

from tuner.space.definition import Definition, bundled_spaces, find, read, space_argument
from tuner.space.searchspace import INACTIVE, SearchSpace
from tuner.space.workload import (
    Argument,
    ArgumentSpec,
    Workload,
    parse_argument,
    parse_params,
    parse_sizes,
)

__all__ = [
    "INACTIVE",
    "Argument",
    "ArgumentSpec",
    "Definition",
    "SearchSpace",
    "Workload",
    "bundled_spaces",
    "find",
    "parse_argument",
    "parse_params",
    "parse_sizes",
    "read",
    "space_argument",
]
