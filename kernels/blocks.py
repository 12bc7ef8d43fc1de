"""Products of operands in blocks: the loops that all kernels have in common.

    tile     one nc_matmul: 128 rows of K, 128 columns of left (stationary), 512 of right (moving)
    block    tiles_k x tiles_m tiles of left, tiles_k x tiles_n tiles of right: loaded together
    step     one block of left times one block of right; loop_order names the loops over them
    strip    [128, row tiles, columns] in SBUF: a whole operand or result, its row tiles side by
             side

A product is out[M,N] = sum over K of left[K,M] * right[K,N]. An operand is a strip, or lies in HBM
with K on rows, or with K on columns: then `by` says what transposes it on its way.

    sizes    (M, N, K)
    plan     (tiles_m, tiles_n, tiles_k, loop_order, resident, evict, load_columns), in tiles of 128
    room     (blocks of left, blocks of right, partial sums, rows of out) in SBUF, by `room_for`

A layer is the product of activations x[K,rows] and weights w[K,columns], block of rows after block
of rows: out[rows,columns], or with swapped operands its transpose.

    sizes    (rows, columns, K)
    plan     (row_tiles, column_tiles, k_tiles, k_outside, resident, evict)
"""

import nki.isa as nisa
import nki.language as nl
from moves import LOAD_COLUMNS, load, load_rows, load_turned, store_rows
from tiles import TILE, TILE_N, add_up, by_scalar, ceil_div, finish_tiles


def room_for(sizes, out, left, right, plan, buffers, psum, partial=""):
    """SBUF for the products of `sizes` that use it one after the other.

    Args:
        out, left, right: As `multiply` takes them; strips need no room.
        buffers: (blocks of left, blocks of right, rows of out) in rotation; where an operand is
            resident, strips of K instead of blocks.
        psum: From `accumulators`.
        partial: Dtype of partial sums in SBUF; that of out unless given.
    """
    tiles_m, block_n, tiles_k, count_m, count_n, count_k = _grid(sizes, plan)
    loop_order, resident, dtype = plan[3], plan[4], out[0].dtype
    sums_dtype = partial if partial != "" else dtype
    products = max(len(left), len(right))
    left_slots, right_slots, row_slots = buffers
    if resident == "lhs" or resident == "both":
        left_slots = count_k * (min(left_slots, count_m) if loop_order == "mnk" else count_m)
    if resident == "rhs" or resident == "both":
        right_slots = count_k * (min(right_slots, count_n) if loop_order == "nmk" else count_n)
    left_blocks, right_blocks, sums, rows = (), (), (), ()
    if left[0].buffer != nl.sbuf:
        shape = (TILE, left_slots, tiles_k, tiles_m * TILE)
        left_blocks = _tiles(len(left), shape, left[0].dtype)
    if right[0].buffer != nl.sbuf:
        shape = (TILE, right_slots, tiles_k, block_n)
        right_blocks = _tiles(len(right), shape, right[0].dtype)
    to_strip = out[0].buffer == nl.sbuf
    in_place = to_strip and len(out) == products and sums_dtype == dtype
    if not (in_place or _stays_in_psum(sizes, plan, products, psum)):
        sum_rows = tiles_m * (count_m if loop_order == "nkm" else 1)
        sum_columns = block_n * (count_n if loop_order == "mkn" else 1)
        sums = _tiles(products, (TILE, sum_rows, sum_columns), sums_dtype)
    if not to_strip:
        rows = _tiles(len(out), (TILE, row_slots, block_n), dtype)
    return left_blocks, right_blocks, sums, rows


def multiply(
    out,
    left,
    right,
    sizes,
    plan,
    room,
    psum,
    call=0,
    fresh=(True, True),
    by=("none", "none"),
    finish="none",
    extra=(),
    double_row=False,
    interleave=False,
):
    """out[M,N] = finish(left[K,M]^T @ right[K,N]); out is in HBM or a strip.

    Args:
        out, left, right: Tuples of one tensor. Two of left, of right or of both make two products
            at once: two of out take them, or one what `finish` makes of both.
        call: Number of this product among those that share the room: rotation goes on.
        fresh: Whether blocks of left and of right must be loaded; False finds those of an earlier
            call in the room.
        by: For left and right "none" where K is on rows, else what transposes: "tensor", "vector"
            or "dma".
        finish: What becomes of a complete tile, and
        extra: what that needs: see `finish_tiles`.
        double_row: Multiply two tiles of K at once; operands are float8.
        interleave: Where a step's products have a PSUM bank each, take every tile of K through all
            of them before the next: work begins with the first tile that arrives.
    """
    M, N, K = sizes
    tiles_m, block_n, tiles_k, count_m, count_n, count_k = _grid(sizes, plan)
    loop_order, resident, evict, load_columns = plan[3], plan[4], plan[5], plan[6]
    left_blocks, right_blocks, sums, out_rows = room
    products, tiles_n = max(len(left), len(right)), ceil_div(block_n, TILE_N)
    k_innermost = loop_order == "mnk" or loop_order == "nmk"
    in_psum = _stays_in_psum(sizes, plan, products, psum)
    together = interleave and tiles_m * tiles_n * products <= psum.shape[1]

    # A block is loaded again in every pass of the loop it does not depend on, unless it is resident
    # or nothing else was loaded in between.
    counts = (count_m, count_n, count_k)
    left_again = resident != "lhs" and resident != "both" and _between(loop_order, "n", counts) > 1
    right_again = resident != "rhs" and resident != "both" and _between(loop_order, "m", counts) > 1

    outer, middle, inner = _in_order(loop_order, count_m, count_n, count_k)
    for a in range(outer):
        for b in range(middle):
            for c in range(inner):
                m, n, k = _block_at(loop_order, a, b, c)
                step = ((call * outer + a) * middle + b) * inner + c
                m0, n0, k0 = m * tiles_m * TILE, n * block_n, k * tiles_k * TILE
                columns_m, columns_n = min(tiles_m * TILE, M - m0), min(block_n, N - n0)
                depth = min(tiles_k * TILE, K - k0)

                # Phase 1: bring the blocks that are not there yet, the tiles of both side by side.
                left_turn = step if left_again else (call * count_m + m) * count_k + k
                right_turn = step if right_again else (call * count_n + n) * count_k + k
                left_slot = _slot(left_blocks, left_turn)
                right_slot = _slot(right_blocks, right_turn)
                load_left = len(left_blocks) > 0 and fresh[0] and (left_again or n == 0)
                load_right = len(right_blocks) > 0 and fresh[1] and (right_again or m == 0)
                if load_left and by[0] != "none":
                    area = (k0, depth, m0, columns_m)
                    load_turned(left_blocks, left_slot, left, area, by[0], evict)
                if load_right and by[1] != "none":
                    area = (k0, depth, n0, columns_n)
                    load_turned(right_blocks, right_slot, right, area, by[1], evict)
                for t in range(ceil_div(depth, TILE)):
                    rows, top = min(TILE, depth - t * TILE), k0 + t * TILE
                    if load_left and by[0] == "none":
                        load(
                            left_blocks, left_slot, t, left, top, rows, m0, columns_m, load_columns
                        )
                    if load_right and by[1] == "none":
                        load(
                            right_blocks,
                            right_slot,
                            t,
                            right,
                            top,
                            rows,
                            n0,
                            columns_n,
                            load_columns,
                        )
                lefts = _side(left, left_blocks, left_slot, k * tiles_k, m0, columns_m)
                rights = _side(right, right_blocks, right_slot, k * tiles_k, n0, columns_n)

                # Phase 2: multiply tile by tile, evict what is complete, store rows of the block.
                turn = step // count_k if k_innermost else step
                last, going = k == count_k - 1, in_psum and k > 0
                if together:
                    block = (turn * tiles_m * tiles_n * products, tiles_n)
                    area = (columns_m, columns_n, depth)
                    _products_together(psum, block, lefts, rights, area, going)
                for i in range(ceil_div(columns_m, TILE)):
                    top, height = i * TILE, min(TILE, columns_m - i * TILE)
                    rows = _rows(out, out_rows, m * tiles_m + i, turn * tiles_m + i, height, n0)
                    if last and (finish == "residual" or finish == "times"):
                        load_rows(rows, extra, m0 + top, n0, columns_n)
                    for j in range(ceil_div(columns_n, TILE_N)):
                        first, width = j * TILE_N, min(TILE_N, columns_n - j * TILE_N)
                        tile = ((turn * tiles_m + i) * tiles_n + j) * products
                        totals = _banks(psum, tile, products, height, width)
                        if not together:
                            area = (top, height, first, width, depth)
                            _products(totals, lefts, rights, area, going, double_row)
                        targets = _part(rows, first, width)
                        on_scalar = by_scalar(evict, tile)
                        if not in_psum:
                            row = i + (m * tiles_m if loop_order == "nkm" else 0)
                            column = first + (n * block_n if loop_order == "mkn" else 0)
                            sums_here = _sums(sums, targets, row, column, height, width)
                            if last and finish == "none":
                                add_up(targets, totals, sums_here, False, on_scalar)
                            else:
                                add_up(sums_here, totals, sums_here, k == 0, on_scalar)
                            totals = sums_here
                        if last and (in_psum or finish != "none"):
                            spot = (m * tiles_m + i, n0 + first)
                            finish_tiles(targets, totals, finish, extra, spot, on_scalar)
                    if last and len(out_rows) > 0:
                        store_rows(out, rows, m0 + top, n0, columns_n)


def layer_room(swapped, sizes, out, x, w, plan, buffers, psum):
    """SBUF for layers of `sizes`, in which `buffers` blocks of each operand are in rotation."""
    rotation = (buffers, buffers, buffers)
    sizes, plan = _as_product(swapped, sizes, plan)
    left, right = (w, x) if swapped else (x, w)
    return room_for(sizes, out, left, right, plan, rotation, psum)


def layer(
    swapped,
    out,
    x,
    w,
    sizes,
    plan,
    room,
    psum,
    call=0,
    fresh=True,
    by="none",
    finish="none",
    extra=(),
    interleave=False,
):
    """out[rows,columns] = finish(x[K,rows]^T @ w[K,columns]), or out[columns,rows] where swapped.

    Args:
        out, x, w: Tuples of one tensor; of two, as `multiply` takes them: of w (swapped) or x.
        plan: Tiles of 128 in a block; k_outside: a block of K meets all columns before the next,
            else a block of columns is completed before the next; resident: "none", "x" or "w".
        call: Number of this layer among those that share the room.
        fresh: Whether w must be loaded; False finds it in the room.
        by: What transposes x where its rows are rows: "none", "tensor", "vector" or "dma".
        finish, extra, interleave: As for `multiply`.
    """
    sizes, plan = _as_product(swapped, sizes, plan)
    left, right, fresh_sides, sides = x, w, (True, fresh), (by, "none")
    if swapped:
        left, right, fresh_sides, sides = w, x, (fresh, True), ("none", by)
    multiply(
        out,
        left,
        right,
        sizes,
        plan,
        room,
        psum,
        call,
        fresh_sides,
        sides,
        finish,
        extra,
        interleave=interleave,
    )


def _as_product(swapped, sizes, plan):
    """Sizes and plan of the product that a layer is."""
    rows, columns, K = sizes
    row_tiles, column_tiles, k_tiles, k_outside, resident, evict = plan
    if swapped:
        loop_order = "nkm" if k_outside else "nmk"
        resident = "lhs" if resident == "w" else "rhs" if resident == "x" else "none"
        return (columns, rows, K), (
            column_tiles,
            row_tiles,
            k_tiles,
            loop_order,
            resident,
            evict,
            LOAD_COLUMNS,
        )
    loop_order = "mkn" if k_outside else "mnk"
    resident = "rhs" if resident == "w" else "lhs" if resident == "x" else "none"
    return sizes, (row_tiles, column_tiles, k_tiles, loop_order, resident, evict, LOAD_COLUMNS)


def _grid(sizes, plan):
    """Tiles of M, columns of N and tiles of K in a block, and the number of blocks of each."""
    M, N, K = sizes
    tiles_m = min(plan[0], ceil_div(M, TILE))
    block_n = min(plan[1] * TILE, ceil_div(N, TILE) * TILE)
    tiles_k = min(plan[2], ceil_div(K, TILE))
    return (
        tiles_m,
        block_n,
        tiles_k,
        ceil_div(M, tiles_m * TILE),
        ceil_div(N, block_n),
        ceil_div(K, tiles_k * TILE),
    )


def _stays_in_psum(sizes, plan, products, psum):
    """Whether sums are complete before they leave PSUM: K is one block, or the accumulators of a
    step stay open over all of K.
    """
    grid = _grid(sizes, plan)
    tiles_m, block_n, count_k = grid[0], grid[1], grid[5]
    k_innermost = plan[3] == "mnk" or plan[3] == "nmk"
    tiles = tiles_m * ceil_div(block_n, TILE_N) * products
    return count_k == 1 or (k_innermost and tiles <= psum.shape[1])


def _in_order(loop_order, m, n, k):
    """What belongs to the outermost, the middle and the innermost loop."""
    if loop_order == "mnk":
        return m, n, k
    if loop_order == "nmk":
        return n, m, k
    return (m, k, n) if loop_order == "mkn" else (n, k, m)


def _block_at(loop_order, a, b, c):
    """Block indices (m, n, k) where the outermost loop is at a, the middle at b, the inner at c."""
    if loop_order == "mnk":
        return a, b, c
    if loop_order == "nmk":
        return b, a, c
    return (a, c, b) if loop_order == "mkn" else (c, a, b)


def _between(loop_order, loop, counts):
    """Steps inside one pass of `loop` ("m" or "n"): 1 where the operand's block stays the same
    meanwhile.
    """
    count_m, count_n, count_k = counts
    if loop == "n":
        if loop_order == "mnk":
            return count_k
        return 1 if loop_order == "mkn" else count_k * count_m
    if loop_order == "nmk":
        return count_k
    return 1 if loop_order == "nkm" else count_k * count_n


def _tiles(count, shape, dtype):
    """One or two SBUF tensors of a shape."""
    one = nl.ndarray(shape, dtype=dtype, buffer=nl.sbuf)
    return (one,) if count == 1 else (one, nl.ndarray(shape, dtype=dtype, buffer=nl.sbuf))


def _slot(blocks, number):
    return number % blocks[0].shape[1] if len(blocks) > 0 else 0


def _side(operands, blocks, slot, first_tile, first, columns):
    """The K tiles of a step on one side: [128, tiles, columns] for each operand."""
    if len(blocks) > 0:
        one = blocks[0][:, slot]
        return (one,) if len(blocks) == 1 else (one, blocks[1][:, slot])
    one = operands[0][:, first_tile : operands[0].shape[1], first : first + columns]
    if len(operands) == 1:
        return (one,)
    return one, operands[1][:, first_tile : operands[1].shape[1], first : first + columns]


def _rows(out, out_rows, row, number, height, first):
    """Where a row of tiles of the results is put together: in the strip, or in a buffer."""
    if len(out_rows) > 0:
        spot = number % out_rows[0].shape[1]
        one = out_rows[0][0:height, spot]
        return (one,) if len(out) == 1 else (one, out_rows[1][0:height, spot])
    one = out[0][0:height, row, first : out[0].shape[2]]
    return (one,) if len(out) == 1 else (one, out[1][0:height, row, first : out[1].shape[2]])


def _part(rows, first, width):
    """A tile of each row."""
    one = rows[0][:, first : first + width]
    return (one,) if len(rows) == 1 else (one, rows[1][:, first : first + width])


def _banks(psum, tile, products, height, width):
    """The PSUM tile of one product, or of two side by side."""
    banks = psum.shape[1]
    one = psum[0:height, tile % banks, 0:width]
    return (one,) if products == 1 else (one, psum[0:height, (tile + 1) % banks, 0:width])


def _products(totals, lefts, rights, area, going, double_row):
    """Multiplies the K tiles of a step into PSUM; `going`: onto what is there."""
    top, height, first, width, depth = area
    for p in range(len(totals)):
        left, right = lefts[min(p, len(lefts) - 1)], rights[min(p, len(rights) - 1)]
        first_tile = 0
        if double_row:
            first_tile = depth // (2 * TILE) * 2
            for t in range(0, first_tile, 2):
                nisa.nc_matmul(
                    dst=totals[p],
                    stationary=left[:, t : t + 2, top : top + height],
                    moving=right[:, t : t + 2, first : first + width],
                    accumulate=t > 0 or going,
                    perf_mode=nisa.matmul_perf_mode.double_row,
                )
        for t in range(first_tile, ceil_div(depth, TILE)):
            rows = min(TILE, depth - t * TILE)
            nisa.nc_matmul(
                dst=totals[p],
                stationary=left[0:rows, t, top : top + height],
                moving=right[0:rows, t, first : first + width],
                accumulate=t > 0 or going,
            )


def _products_together(psum, block, lefts, rights, area, going):
    """Multiplies all tiles of a step into PSUM, one tile of K after the other."""
    (start, tiles_n), (columns_m, columns_n, depth) = block, area
    products = max(len(lefts), len(rights))
    for t in range(ceil_div(depth, TILE)):
        rows = min(TILE, depth - t * TILE)
        for i in range(ceil_div(columns_m, TILE)):
            top, height = i * TILE, min(TILE, columns_m - i * TILE)
            for j in range(ceil_div(columns_n, TILE_N)):
                first, width = j * TILE_N, min(TILE_N, columns_n - j * TILE_N)
                tile = start + (i * tiles_n + j) * products
                totals = _banks(psum, tile, products, height, width)
                for p in range(products):
                    nisa.nc_matmul(
                        dst=totals[p],
                        stationary=lefts[min(p, len(lefts) - 1)][0:rows, t, top : top + height],
                        moving=rights[min(p, len(rights) - 1)][0:rows, t, first : first + width],
                        accumulate=t > 0 or going,
                    )


def _sums(sums, targets, row, first, height, width):
    """Where the partial sums of a tile wait: in SBUF of their own, or in their place in a strip."""
    if len(sums) == 0:
        return targets
    one = sums[0][0:height, row, first : first + width]
    return (one,) if len(sums) == 1 else (one, sums[1][0:height, row, first : first + width])
