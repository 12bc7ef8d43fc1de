"""The low-rank SwiGLU MLP: h = silu(x @ ug @ vg) * (x @ uu @ vu), y[M,H] = h @ ud @ vd.

    up and gate   phase 1    strips rg = (x @ ug)^T and ru = (x @ uu)^T: x is read once for both
    (M, H, R, I)  phase 2    columns of h^T = silu(vg^T @ rg) * (vu^T @ ru)
    down          phase 3    strip rd = (h @ ud)^T
    (M, I, R, H)  phase 4    rows of y = rd^T @ vd, or columns of y^T = vd^T @ rd

Each is a chain through a strip of R, one block of rows after the other. No phase transposes:
operands are swapped until the rows of y are wanted. h^T of a block of rows stays in SBUF for the
down projection of these rows ("sbuf"), or goes to HBM for a second pass over all rows ("hbm"). The
latter is the structure of NeuronMM (arXiv 2510.25977), whose published block sizes are the
defaults; unfused, gate and up are chains of their own with silu(gate) in HBM between them.
"""

import nki
import nki.language as nl
import numpy as np
from blocks import TILE, accumulators, ceil_div, layer, layer_room, strip


@nki.jit
def mlp(
    x,
    ug,
    vg,
    uu,
    vu,
    ud,
    vd,
    out="MN",
    hidden="hbm",
    fuse="up_gate",
    rows_per_block=1024,
    k_tiles=4,
    r_tiles=8,
    n_tiles=8,
    order="kr",
    v_block="r_tiles",
    resident="none",
    buffers=2,
    psum_accumulators=8,
    evict="vector",
):
    """Applies the MLP to x; all operands are bfloat16 or all float32, of any sizes.

    Args:
        x: [H,M], as the layer before hands it on.
        ug, uu, ud: [H,R], [H,R], [I,R]: into the rank of gate, up and down.
        vg, vu, vd: [R,I], [R,I], [R,H]: out of it.
        out: "MN" returns y[M,H], "NM" its transpose.
        hidden: Where a block of rows of h waits for the down projection: "sbuf" or "hbm".
        fuse: "up_gate", or "none" where h goes to HBM.
        rows_per_block: Rows of x that share the strips.
        k_tiles, r_tiles, n_tiles: Tiles of 128 in a block along what goes into a chain (H, then I),
            along R, and along what comes out (I, then H).
        order: Loops of phases 1 and 3: "kr" streams blocks of K once and adds up in the strips,
            "rk" completes a block of R before the next.
        v_block: Rows of vg, vu and vd in a block: "r_tiles", or "all" of R.
        resident: What stays in SBUF: "none"; "x", a block of rows, during phase 1; "outer" weights,
            all of ug, uu and vd, or "weights", all there are, from the first row block to the last.
        buffers: Blocks of each operand and rows of the result in rotation.
        psum_accumulators: PSUM banks in rotation.
        evict: Engine that empties PSUM: "vector", "scalar", or "both" in turn.

    Returns:
        y[M,H] or y^T[H,M] in HBM, in the operands' dtype.
    """
    (H, M), (R, I) = x.shape, vg.shape  # noqa: E741
    y = nl.ndarray((M, H) if out == "MN" else (H, M), dtype=x.dtype, buffer=nl.shared_hbm)
    row_tiles = min(rows_per_block // TILE, ceil_div(M, TILE))
    rows, v_tiles = row_tiles * TILE, ceil_div(R, TILE) if v_block == "all" else r_tiles
    keep_outer = "w" if resident == "outer" or resident == "weights" else "none"
    keep_inner = "w" if resident == "weights" else "none"
    keep_u = "x" if resident == "x" else keep_outer
    plan_1 = (row_tiles, r_tiles, k_tiles, order == "kr", keep_u, evict)
    plan_2 = (row_tiles, n_tiles, v_tiles, False, keep_inner, evict)
    plan_3 = (row_tiles, r_tiles, k_tiles, order == "kr", keep_inner, evict)
    plan_4 = (row_tiles, n_tiles, v_tiles, False, keep_outer, evict)
    use = (buffers, accumulators(psum_accumulators))
    up_gate = ((rows, H, R, I), True, (plan_1, plan_2), use)
    down = ((rows, I, R, H), out == "NM", (plan_3, plan_4), use)

    if hidden == "hbm":
        h = nl.ndarray((I, M), dtype=x.dtype, buffer=nl.private_hbm)
        if fuse == "up_gate":
            _chain(h, x, (ug, uu), (vg, vu), up_gate, "swiglu")
        else:
            gate = nl.ndarray((I, M), dtype=x.dtype, buffer=nl.private_hbm)
            _chain(gate, x, (ug,), (vg,), up_gate, "silu")
            _chain(h, x, (uu,), (vu,), up_gate, "times", gate)
        _chain(y, h, (ud,), (vd,), down)
        return y

    h, r = strip(I, rows, x.dtype), (strip(R, rows, x.dtype), strip(R, rows, x.dtype))
    kept_1 = _rooms(h, x, (ug, uu), (vg, vu), r, up_gate)
    kept_2 = _rooms(y, h, (ud,), (vd,), (r[0],), down)
    for m in range(ceil_div(M, rows)):
        block = (m, m * rows, min(rows, M - m * rows))
        _block(h, x, (ug, uu), (vg, vu), r, up_gate, kept_1, block, "swiglu")
        _block(y, h, (ud,), (vd,), (r[0],), down, kept_2, block)
    return y


def _chain(out, x, u, v, chain, finish="none", extra=()):
    """out = finish(x @ u @ v), block of rows after block of rows; two of u and of v: as multiply.

    Args:
        chain: ((rows, K, R, N), whether out is [N,M], plans of both phases, (buffers, psum)).
    """
    rows, R, M = chain[0][0], chain[0][2], x.shape[1]
    one = strip(R, rows, x.dtype)
    r = (one,) if len(u) == 1 else (one, strip(R, rows, x.dtype))
    kept = _rooms(out, x, u, v, r, chain)
    for m in range(ceil_div(M, rows)):
        _block(out, x, u, v, r, chain, kept, (m, m * rows, min(rows, M - m * rows)), finish, extra)


def _block(out, x, u, v, r, chain, kept, block, finish="none", extra=()):
    """The chain for a block of rows: (its number, first row, height)."""
    (_, K, R, N), out_swapped, (plan_1, plan_2), (_, psum) = chain
    m, m0, height = block
    # Rooms of its own for every block of rows: a phase leaves its memory to the next.
    room_1, room_2 = _rooms(out, x, u, v, r, chain)
    room_1, u_fresh = (kept[0], m == 0) if plan_1[4] == "w" else (room_1, True)
    room_2, v_fresh = (kept[1], m == 0) if plan_2[4] == "w" else (room_2, True)

    # Phase 1 (3): the strips r[R,rows].
    x_rows = x if x.buffer == nl.sbuf else x[:, m0 : m0 + height]
    layer(True, r, (x_rows,), u, (height, R, K), plan_1, room_1, psum, m, u_fresh)

    # Phase 2 (4): their columns, or rows, of out.
    part = out
    if out.buffer != nl.sbuf:
        part = out[:, m0 : m0 + height] if out_swapped else out[m0 : m0 + height, :]
    if finish == "times":
        extra = extra[:, m0 : m0 + height]
    sizes = (height, N, R)
    layer(
        out_swapped, (part,), r, v, sizes, plan_2, room_2, psum, m, v_fresh, "none", finish, extra
    )


def _rooms(out, x, u, v, r, chain):
    """SBUF for both phases of a block of rows; what nothing touches takes no memory."""
    (rows, K, R, N), out_swapped, (plan_1, plan_2), (buffers, psum) = chain
    return (
        layer_room(True, (rows, R, K), r, (x,), u, plan_1, buffers, psum),
        layer_room(out_swapped, (rows, N, R), (out,), r, v, plan_2, buffers, psum),
    )


def mlp_reference(x, ug, vg, uu, vu, ud, vd, out="MN"):
    """The MLP in float64: numpy arrays as `mlp` takes them -> y[M,H], or y^T[H,M]."""
    x, ug, vg, uu, vu, ud, vd = (a.astype(np.float64) for a in (x, ug, vg, uu, vu, ud, vd))
    gate = x.T @ ug @ vg
    y = (gate * (1 + np.tanh(gate / 2)) / 2 * (x.T @ uu @ vu)) @ ud @ vd
    return y if out == "MN" else y.T
