"""The SwiGLU MLP without compression: h = silu(x @ wg) * (x @ wu), y[M,H] = h @ wd.

    up and gate   (M, H, I)   columns of h^T = silu(wg^T @ x) * (wu^T @ x): x is read once for both
    down          (M, I, H)   rows of y = h @ wd, or columns of y^T = wd^T @ h^T

Block of rows after block of rows, as `mlp` does it: h^T of a block of rows stays in SBUF for the
down projection of these rows ("sbuf"), or goes to HBM for a second pass over all rows ("hbm");
unfused, gate and up are products of their own with silu(gate) in HBM between them. Default blocks
are those of AWS's tutorial on matrix multiplication.
"""

import nki
import nki.language as nl
import numpy as np
from blocks import TILE, accumulators, ceil_div, layer, layer_room, strip


@nki.jit
def dense_mlp(
    x,
    wg,
    wu,
    wd,
    out="MN",
    hidden="hbm",
    fuse="up_gate",
    rows_per_block=1024,
    k_tiles=8,
    n_tiles=16,
    order="nk",
    down_order="nk",
    resident="none",
    buffers=2,
    psum_accumulators=8,
    evict="vector",
):
    """Applies the MLP to x; all operands are bfloat16 or all float32, of any sizes.

    Args:
        x: [H,M], as the layer before hands it on.
        wg, wu, wd: [H,I], [H,I], [I,H]: gate, up and down.
        out: "MN" returns y[M,H], "NM" its transpose.
        hidden: Where a block of rows of h waits for the down projection: "sbuf" or "hbm".
        fuse: "up_gate", or "none" where h goes to HBM.
        rows_per_block: Rows of x that are finished before the next.
        k_tiles, n_tiles: Tiles of 128 in a block along what goes into a layer (H, then I) and along
            what comes out (I, then H).
        order, down_order: Loops of up and gate, and of down where h comes from HBM: "kn" streams
            blocks of K once and adds up in SBUF, "nk" completes a block of columns before the next.
        resident: What stays in SBUF: "none"; "x", a block of rows, during up and gate; "weights",
            all there are, from the first row block to the last.
        buffers: Blocks of each operand and rows of the result in rotation.
        psum_accumulators: PSUM banks in rotation.
        evict: Engine that empties PSUM: "vector", "scalar", or "both" in turn.

    Returns:
        y[M,H] or y^T[H,M] in HBM, in the operands' dtype.
    """
    (H, M), I = x.shape, wg.shape[1]  # noqa: E741
    y = nl.ndarray((M, H) if out == "MN" else (H, M), dtype=x.dtype, buffer=nl.shared_hbm)
    row_tiles = min(rows_per_block // TILE, ceil_div(M, TILE))
    rows, weights = row_tiles * TILE, "w" if resident == "weights" else "none"
    keep = "x" if resident == "x" else weights
    plan_1 = (row_tiles, n_tiles, k_tiles, order == "kn", keep, evict)
    plan_2 = (row_tiles, n_tiles, k_tiles, hidden == "hbm" and down_order == "kn", weights, evict)
    use = (buffers, accumulators(psum_accumulators))
    up_gate, down = ((rows, I, H), True, plan_1, use), ((rows, H, I), out == "NM", plan_2, use)

    if hidden == "hbm":
        h = nl.ndarray((I, M), dtype=x.dtype, buffer=nl.private_hbm)
        if fuse == "up_gate":
            _pass(h, x, (wg, wu), up_gate, "swiglu")
        else:
            gate = nl.ndarray((I, M), dtype=x.dtype, buffer=nl.private_hbm)
            _pass(gate, x, (wg,), up_gate, "silu")
            _pass(h, x, (wu,), up_gate, "times", gate)
        _pass(y, h, (wd,), down)
        return y

    h = strip(I, rows, x.dtype)
    kept_1, kept_2 = _room(h, x, (wg, wu), up_gate), _room(y, h, (wd,), down)
    for m in range(ceil_div(M, rows)):
        block = (m, m * rows, min(rows, M - m * rows))
        _block(h, x, (wg, wu), up_gate, kept_1, block, "swiglu")
        _block(y, h, (wd,), down, kept_2, block)
    return y


def _pass(out, x, w, shape, finish="none", extra=()):
    """out = finish(x @ w), block of rows after block of rows; two of w: as multiply.

    Args:
        shape: ((rows, N, K), whether out is [N,M], plan, (buffers, psum)).
    """
    rows, M, kept = shape[0][0], x.shape[1], _room(out, x, w, shape)
    for m in range(ceil_div(M, rows)):
        _block(out, x, w, shape, kept, (m, m * rows, min(rows, M - m * rows)), finish, extra)


def _block(out, x, w, shape, kept, block, finish="none", extra=()):
    """The layer for a block of rows: (its number, first row, height)."""
    (_, N, K), swapped, plan, (_, psum) = shape
    m, m0, height = block
    # A room of its own for every block of rows: a layer leaves its memory to the next.
    room = _room(out, x, w, shape)
    room, fresh = (kept, m == 0) if plan[4] == "w" else (room, True)
    x_rows = x if x.buffer == nl.sbuf else x[:, m0 : m0 + height]
    part = out
    if out.buffer != nl.sbuf:
        part = out[:, m0 : m0 + height] if swapped else out[m0 : m0 + height, :]
    if finish == "times":
        extra = extra[:, m0 : m0 + height]
    sizes = (height, N, K)
    layer(swapped, (part,), (x_rows,), w, sizes, plan, room, psum, m, fresh, "none", finish, extra)


def _room(out, x, w, shape):
    """SBUF for a block of rows; what nothing touches takes no memory."""
    sizes, swapped, plan, (buffers, psum) = shape
    return layer_room(swapped, sizes, (out,), (x,), w, plan, buffers, psum)


def dense_mlp_reference(x, wg, wu, wd, out="MN"):
    """The MLP in float64: numpy arrays as `dense_mlp` takes them -> y[M,H], or y^T[H,M]."""
    x, wg, wu, wd = (a.astype(np.float64) for a in (x, wg, wu, wd))
    gate = x.T @ wg
    y = (gate * (1 + np.tanh(gate / 2)) / 2 * (x.T @ wu)) @ wd
    return y if out == "MN" else y.T
