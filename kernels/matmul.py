"""Blocked matrix multiplication: out[M,N] = lhsT[K,M]^T @ rhs[K,N], every choice in it tunable.

    tile    one nc_matmul: 128 rows of K, 128 columns of the stationary operand, 512 of the moving
    block   tiles_k x tiles_m tiles of lhs, tiles_k x tiles_n tiles of rhs: what is loaded together
    step    one block of lhs times one block of rhs; loop_order names the loops over them

lhs is stationary and rhs moves; for out[N,M] they change roles, and the product comes out
transposed for nothing. lhs[M,K] is transposed on its way to SBUF, or beforehand in HBM.

The default config has the structure of the fully optimised kernel in AWS's matmul tutorial: blocks
of 16/2/8 tiles (M/N/K), all of M inside the K loop, partial sums in SBUF.
"""

import nki
import nki.language as nl
import numpy as np
from blocks import TILE, accumulators, multiply, room_for, spread, transpose_hbm, upright


@nki.jit
def matmul(
    lhsT=None,
    rhs=None,
    lhs=None,
    bias=None,
    residual=None,
    layout="KM",
    out="MN",
    epilogue="none",
    result="same",
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
    transpose="tensor",
    double_row=True,
):
    """Multiplies lhsT[K,M] (transposed) or lhs[M,K] by rhs[K,N]: both bfloat16, float32 or
    float8_e4m3, any sizes.

    Args:
        bias: [1,N], where epilogue is "bias".
        residual: In the shape of out, where epilogue is "residual".
        layout: "KM" takes lhsT, "MK" lhs.
        out: "MN", or "NM": the product transposed.
        epilogue: What becomes of the product before it is stored: "none", "bias" (added to every
            row), "silu", "residual" (added).
        result: Dtype of out: "same" as the operands' (of float8: bfloat16), "float32", "bfloat16".
        tiles_m, tiles_n, tiles_k: Tiles in a block: 128 of M, 512 of N, 128 of K.
        loop_order: "mnk", "nmk", "mkn" or "nkm", outermost loop first.
        resident: The operand whose blocks stay in SBUF until no step needs them: "none", "lhs",
            "rhs", "both".
        buffers: SBUF buffers used in rotation for each operand's blocks (strips, where resident)
            and rows of out.
        psum_accumulators: PSUM banks used in rotation (1 to 8).
        evict: Engine that empties PSUM: "vector", "scalar", or "both" in turn.
        load_columns: Columns of an operand that one DMA brings.
        accumulator: Dtype of partial sums in SBUF: "input" (that of the operands, of float8:
            bfloat16) or "float32".
        transpose: What transposes lhs: "tensor", "vector" or "dma", on its way to SBUF, or "hbm":
            DMA once, into lhsT in HBM.
        double_row: Multiply two tiles of K at once; of float8 only.

    Returns:
        out[M,N] or out[N,M] in HBM.
    """
    N = rhs.shape[1]
    M, K = lhs.shape if layout == "MK" else (lhsT.shape[1], lhsT.shape[0])
    half = nl.bfloat16 if rhs.dtype == nl.float8_e4m3 else rhs.dtype
    dtype = nl.float32 if result == "float32" else nl.bfloat16 if result == "bfloat16" else half
    product = nl.ndarray((M, N) if out == "MN" else (N, M), dtype=dtype, buffer=nl.shared_hbm)

    # Phase 1: what both the left operand and the epilogue need before they can be used.
    left, by = lhsT, "none"
    if layout == "MK" and transpose == "hbm":
        left = nl.ndarray((K, M), dtype=lhs.dtype, buffer=nl.private_hbm)
        transpose_hbm(left, lhs)
    elif layout == "MK":
        left, by = lhs, transpose
    finish, extra = epilogue, residual
    if epilogue == "bias" and out == "MN":
        extra = spread(bias, min(TILE, M))
    elif epilogue == "bias":
        finish, extra = "bias_rows", upright(bias)

    # Phase 2: the product, lhs stationary or, for out[N,M], moving.
    psum = accumulators(psum_accumulators)
    rotation = (buffers, buffers, buffers)
    partial = nl.float32 if accumulator == "float32" else half
    doubled = double_row and rhs.dtype == nl.float8_e4m3
    if out == "MN":
        sizes, operands, turns = (M, N, K), ((left,), (rhs,)), (by, "none")
        plan = (tiles_m, 4 * tiles_n, tiles_k, loop_order, resident, evict, load_columns)
    else:
        sizes, operands, turns = (N, M, K), ((rhs,), (left,)), ("none", by)
        order, kept = _swapped(loop_order, resident)
        plan = (4 * tiles_n, tiles_m, tiles_k, order, kept, evict, load_columns)
    stationary, moving = operands
    room = room_for(sizes, (product,), stationary, moving, plan, rotation, psum, partial)
    multiply(
        (product,),
        stationary,
        moving,
        sizes,
        plan,
        room,
        psum,
        by=turns,
        finish=finish,
        extra=extra,
        double_row=doubled,
    )
    return product


def _swapped(loop_order, resident):
    """The loops and what is resident, where rhs is the left operand."""
    if loop_order == "mnk" or loop_order == "nmk":
        order = "nmk" if loop_order == "mnk" else "mnk"
    else:
        order = "nkm" if loop_order == "mkn" else "mkn"
    kept = "rhs" if resident == "lhs" else "lhs" if resident == "rhs" else resident
    return order, kept


def matmul_reference(
    rhs,
    lhsT=None,
    lhs=None,
    bias=None,
    residual=None,
    layout="KM",
    out="MN",
    epilogue="none",
    result="same",
):
    """The same in float64: numpy arrays as `matmul` takes them -> out[M,N] or out[N,M]."""
    rows = lhs if layout == "MK" else lhsT.T
    product = rows.astype(np.float64) @ rhs.astype(np.float64)
    if epilogue == "bias":
        product = product + bias
    elif epilogue == "silu":
        product = product * np.exp(-np.logaddexp(0, -product))
    product = product if out == "MN" else product.T
    return product + residual if epilogue == "residual" else product
