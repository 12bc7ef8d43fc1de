"""The inner loops of the Gaussian process, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled

__all__ = ["correlations", "weight_gradients"]

Floats = npt.NDArray[np.float64]
States = npt.NDArray[np.uint16]


def correlations(
    states_a: States,
    joint_a: Floats,
    states_b: States,
    joint_b: Floats,
    table: Floats,
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    weights: Floats,
) -> Floats:
    """Returns exp(-distance) [a, b] between points; a distance is a sum over parameters, looked up
    in `table`, and over joint features.

    Quickest where the arrays of `b` are in Fortran order.
    """
    columns = np.ascontiguousarray(states_b.T), np.ascontiguousarray(joint_b.T)
    return _correlations(states_a, joint_a, *columns, table, offsets, sizes, weights)


@compiled
def _correlations(
    states_a: States,
    joint_a: Floats,
    states_b: States,
    joint_b: Floats,
    table: Floats,
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    weights: Floats,
) -> Floats:
    """The same with the points of `b` in columns, so that the inner loops are over neighbours in
    memory.
    """
    count = states_b.shape[1]
    out = np.zeros((len(states_a), count))
    for a in range(len(states_a)):
        for p in range(len(states_b)):
            base = offsets[p] + states_a[a, p] * sizes[p]
            for b in range(count):
                out[a, b] += table[base + states_b[p, b]]
        for f in range(len(joint_b)):
            weight, here = weights[f], joint_a[a, f]
            for b in range(count):
                out[a, b] += weight * abs(here - joint_b[f, b])
        for b in range(count):
            out[a, b] = np.exp(-out[a, b])
    return out


@compiled
def weight_gradients(
    states: States,
    joint: Floats,
    outer: Floats,
    columns: npt.NDArray[np.int64],
    tables: Floats,
    starts: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> Floats:
    """Returns for each component of the distance its sum over all pairs, weighted with `outer`.

    Args:
        states: Points [n, parameters].
        joint: Their joint features [n, features].
        outer: Symmetric weights of the pairs [n, n].
        columns: The parameter of each component that is a table.
        tables: These tables, one after the other.
        starts: Where each begins.
        sizes: States of each parameter.
    """
    features = joint.shape[1]
    sums = np.zeros(len(columns) + features)
    for a in range(len(states)):
        for b in range(a):
            weight = 2.0 * outer[a, b]
            for c in range(len(columns)):
                p = columns[c]
                sums[c] += weight * tables[starts[c] + states[a, p] * sizes[p] + states[b, p]]
            for f in range(features):
                sums[len(columns) + f] += weight * abs(joint[a, f] - joint[b, f])
    return sums
