"""Blocked matrix multiplication: out[M,N] = lhsT[K,M]^T @ rhs[K,N], every choice in it tunable.

    tile    one nc_matmul: 128 rows of K, 128 columns of lhsT (stationary), 512 of rhs (moving)
    block   tiles_k x tiles_m tiles of lhsT, tiles_k x tiles_n tiles of rhs: what is loaded together
    step    one block of lhsT times one block of rhs; loop_order names the loops over them

The default config has the structure of the fully optimised kernel in AWS's matmul tutorial: blocks
of 16/2/8 tiles (M/N/K), all of M inside the K loop, partial sums in SBUF.
"""

import nki
import nki.language as nl
import numpy as np
from blocks import accumulators, multiply, room_for


@nki.jit
def matmul(
    lhsT,
    rhs,
    tiles_m=16,
    tiles_n=2,
    tiles_k=8,
    loop_order="nkm",
    resident="none",
    buffers=2,
    psum_accumulators=8,
    evict="vector",
    load_columns=2048,
    accumulator="input",
):
    """Multiplies lhsT[K,M] (transposed) by rhs[K,N]; both bfloat16 or both float32, any sizes.

    Args:
        tiles_m, tiles_n, tiles_k: Tiles in a block along each dimension.
        loop_order: "mnk", "nmk", "mkn" or "nkm", outermost loop first.
        resident: The operand whose blocks stay in SBUF until no step needs them: "none", "lhs",
            "rhs", "both".
        buffers: SBUF buffers used in rotation for each operand's blocks (strips, where resident)
            and rows of out.
        psum_accumulators: PSUM banks used in rotation (1 to 8).
        evict: Engine that empties PSUM: "vector", "scalar", or "both" in turn.
        load_columns: Columns of an operand that one DMA brings.
        accumulator: Dtype of partial sums in SBUF: "input" (that of the operands) or "float32".

    Returns:
        out[M,N] in HBM, in the operands' dtype.
    """
    K, M = lhsT.shape
    N = rhs.shape[1]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)

    plan = (tiles_m, 4 * tiles_n, tiles_k, loop_order, resident, evict, load_columns)
    sizes = (M, N, K)
    psum = accumulators(psum_accumulators)
    rotation = (buffers, buffers, buffers)
    room = room_for(sizes, (out,), (lhsT,), (rhs,), plan, rotation, psum, accumulator)
    multiply((out,), (lhsT,), (rhs,), sizes, plan, room, psum)
    return out


def matmul_reference(lhsT, rhs):
    """The product in float64: numpy arrays lhsT[K,M] and rhs[K,N] -> out[M,N]."""
    return lhsT.astype(np.float64).T @ rhs.astype(np.float64)
