"""What the kernels have in common: operands in blocks, their product, and the way out of PSUM.

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

TILE = 128  # partitions; columns of a stationary operand
TILE_N = 512  # columns of a moving operand
LOAD_COLUMNS = 2048
BANK_BYTES = 2048  # of PSUM, a partition
SMALL = 32  # VectorE transposes 32 x 32


def ceil_div(a, b):
    """a / b, rounded up."""
    return (a + b - 1) // b


def accumulators(banks):
    """PSUM banks that products use in rotation."""
    return nl.ndarray((TILE, banks, TILE_N), dtype=nl.float32, buffer=nl.psum)


def strip(rows, columns, dtype):
    """An empty strip for a matrix of `rows` x `columns`."""
    return nl.ndarray((TILE, ceil_div(rows, TILE), columns), dtype=dtype, buffer=nl.sbuf)


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
        extra: what that needs: see `_finish`.
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
                    _load_turned(left_blocks, left_slot, left, area, by[0], evict)
                if load_right and by[1] != "none":
                    area = (k0, depth, n0, columns_n)
                    _load_turned(right_blocks, right_slot, right, area, by[1], evict)
                for t in range(ceil_div(depth, TILE)):
                    rows, top = min(TILE, depth - t * TILE), k0 + t * TILE
                    if load_left and by[0] == "none":
                        _load(
                            left_blocks, left_slot, t, left, top, rows, m0, columns_m, load_columns
                        )
                    if load_right and by[1] == "none":
                        _load(
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
                        _load_rows(rows, extra, m0 + top, n0, columns_n)
                    for j in range(ceil_div(columns_n, TILE_N)):
                        first, width = j * TILE_N, min(TILE_N, columns_n - j * TILE_N)
                        tile = ((turn * tiles_m + i) * tiles_n + j) * products
                        totals = _banks(psum, tile, products, height, width)
                        if not together:
                            area = (top, height, first, width, depth)
                            _products(totals, lefts, rights, area, going, double_row)
                        targets = _part(rows, first, width)
                        on_scalar = _on_scalar(evict, tile)
                        if not in_psum:
                            row = i + (m * tiles_m if loop_order == "nkm" else 0)
                            column = first + (n * block_n if loop_order == "mkn" else 0)
                            sums_here = _sums(sums, targets, row, column, height, width)
                            if last and finish == "none":
                                _add_up(targets, totals, sums_here, False, on_scalar)
                            else:
                                _add_up(sums_here, totals, sums_here, k == 0, on_scalar)
                            totals = sums_here
                        if last and (in_psum or finish != "none"):
                            spot = (m * tiles_m + i, n0 + first)
                            _finish(targets, totals, finish, extra, spot, on_scalar)
                    if last and len(out_rows) > 0:
                        _store_rows(out, rows, m0 + top, n0, columns_n)


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


def transpose_strip(dst, src, rows, columns, by, evict="vector", factors=()):
    """dst = src transposed: strips of [columns, rows] and of [rows, columns].

    Args:
        by: "tensor", "vector" or "dma".
        evict: Engine that empties PSUM and scales: "vector", "scalar", or "both" in turn.
        factors: One [128, tiles of columns] in float32: by what rows of dst are scaled; or none.
    """
    for i in range(ceil_div(rows, TILE)):
        height = min(TILE, rows - i * TILE)
        turned = dst[:, :, i * TILE : i * TILE + height]
        if by == "tensor":
            _turn_tiles(turned, src[0:height, i, 0:columns], _on_scalar(evict, i), factors)
        else:
            for j in range(ceil_div(columns, TILE)):
                width = min(TILE, columns - j * TILE)
                tile = turned[0:width, j]
                _turn(tile, src[0:height, i, j * TILE : j * TILE + width], by)
                if len(factors) > 0:
                    _scale(tile, tile, factors[0][0:width, j : j + 1], _on_scalar(evict, j))


def transpose_hbm(dst, src):
    """dst[N,M] = src[M,N] transposed by DMA, both in HBM."""
    M, N = src.shape
    for m in range(0, M, LOAD_COLUMNS):
        wide = min(LOAD_COLUMNS, M - m)
        for n in range(0, N, TILE):
            high = min(TILE, N - n)
            turned = nl.ndarray((high, wide), dtype=src.dtype, buffer=nl.sbuf)
            nisa.dma_transpose(dst=turned, src=src[m : m + wide, n : n + high])
            nisa.dma_copy(dst=dst[n : n + high, m : m + wide], src=turned)


def spread(vector, rows):
    """[rows, N] in SBUF, in every row the vector[1,N] of HBM."""
    N = vector.shape[1]
    found = nl.ndarray((rows, N), dtype=vector.dtype, buffer=nl.sbuf)
    nisa.dma_copy(dst=found, src=vector.ap(pattern=[[0, rows], [1, N]]))
    return found


def upright(vector):
    """[128, tiles of N] in SBUF, float32: the vector[1,N] of HBM, a tile in each column."""
    N = vector.shape[1]
    whole, rest = N // TILE, N % TILE
    found = nl.ndarray((TILE, ceil_div(N, TILE)), dtype=nl.float32, buffer=nl.sbuf)
    for t in range(0, whole, TILE):
        tiles = min(TILE, whole - t)
        column = nl.ndarray((TILE, tiles), dtype=vector.dtype, buffer=nl.sbuf)
        lying = vector[0:1, t * TILE : (t + tiles) * TILE].reshape((tiles, TILE))
        nisa.dma_transpose(dst=column, src=lying)
        nisa.tensor_copy(dst=found[:, t : t + tiles], src=column)
    if rest > 0:
        column = nl.ndarray((rest, 1), dtype=vector.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=column, src=vector[0:1, whole * TILE : N].reshape((rest, 1)))
        nisa.tensor_copy(dst=found[0:rest, whole : whole + 1], src=column)
    return found


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


def _load(blocks, slot, t, sources, k0, rows, first, columns, load_columns):
    """Loads row tile t of a block: source[k0:, first : first + columns], load_columns at a time."""
    for c in range(0, columns, load_columns):
        width = min(load_columns, columns - c)
        for p in range(len(blocks)):
            nisa.dma_copy(
                dst=blocks[p][0:rows, slot, t, c : c + width],
                src=sources[p][k0 : k0 + rows, first + c : first + c + width],
            )


def _load_turned(blocks, slot, sources, area, by, evict):
    """Loads a block of source[first : first + columns, k0 : k0 + depth], transposed."""
    k0, depth, first, columns = area
    step = LOAD_COLUMNS if by == "dma" else TILE
    for p in range(len(blocks)):
        block, source = blocks[p], sources[p]
        for c in range(0, columns, step):
            width = min(step, columns - c)
            rows = source[first + c : first + c + width, k0 : k0 + depth]
            if by != "dma":
                natural = nl.ndarray((width, depth), dtype=source.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=natural, src=rows)
                rows = natural
            if by == "tensor":
                _turn_tiles(block[:, slot, :, c : c + width], rows, _on_scalar(evict, c // TILE))
            else:
                for t in range(ceil_div(depth, TILE)):
                    height = min(TILE, depth - t * TILE)
                    _turn(
                        block[0:height, slot, t, c : c + width],
                        rows[0:width, t * TILE : t * TILE + height],
                        by,
                    )


def _turn_tiles(dst, src, on_scalar, factors=()):
    """dst[128, tiles, P] = src[P, K] transposed by TensorE, times factors[128, tiles] if given;
    tiles that fit a bank leave together.
    """
    width, depth = src.shape
    size = 4 if src.dtype == nl.float32 else 1 if src.dtype == nl.float8_e4m3 else 2
    group, whole = BANK_BYTES // (TILE * size), depth // TILE
    for first in range(0, ceil_div(depth, TILE), group):
        tiles = min(group, ceil_div(depth, TILE) - first)
        full = min(tiles, whole - first)
        turned = nl.ndarray((TILE, tiles, width), dtype=src.dtype, buffer=nl.psum)
        for t in range(tiles):
            top = (first + t) * TILE
            height = min(TILE, depth - top)
            nisa.nc_transpose(
                dst=turned[0:height, t],
                data=src[0:width, top : top + height],
                engine=nisa.engine.tensor,
            )
        rest = depth - whole * TILE
        if len(factors) > 0:
            for t in range(tiles):
                at, height = first + t, min(TILE, depth - (first + t) * TILE)
                factor = factors[0][0:height, at : at + 1]
                _scale(dst[0:height, at], turned[0:height, t], factor, on_scalar)
        else:
            if full > 0:
                _copy(dst[:, first : first + full], turned[:, 0:full], on_scalar)
            if full < tiles:
                _copy(dst[0:rest, whole], turned[0:rest, full], on_scalar)


def _turn(dst, src, by):
    """dst[F,P] = src[P,F] transposed, both at most 128; src is in SBUF, or in HBM for "dma"."""
    if by == "dma":
        nisa.dma_transpose(dst=dst, src=src)
    elif by == "tensor":
        turned = nl.ndarray(dst.shape, dtype=src.dtype, buffer=nl.psum)
        nisa.nc_transpose(dst=turned, data=src, engine=nisa.engine.tensor)
        nisa.tensor_copy(dst=dst, src=turned, engine=nisa.engine.vector)
    else:
        rows, columns = src.shape
        for i in range(0, rows, SMALL):
            height = min(SMALL, rows - i)
            for j in range(0, columns, SMALL):
                width = min(SMALL, columns - j)
                nisa.nc_transpose(
                    dst=dst[j : j + width, i : i + height],
                    data=src[i : i + height, j : j + width],
                    engine=nisa.engine.vector,
                )


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


def _load_rows(rows, source, top, first, columns):
    height = rows[0].shape[0]
    nisa.dma_copy(
        dst=rows[0][:, 0:columns], src=source[top : top + height, first : first + columns]
    )


def _store_rows(out, rows, top, first, columns):
    height = rows[0].shape[0]
    for p in range(len(out)):
        nisa.dma_copy(
            dst=out[p][top : top + height, first : first + columns], src=rows[p][:, 0:columns]
        )


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


def _add_up(targets, totals, partials, fresh, on_scalar):
    """targets = totals + partials; the first totals begin them."""
    for p in range(len(totals)):
        if fresh:
            _copy(targets[p], totals[p], on_scalar)
        else:
            _add(targets[p], totals[p], partials[p], on_scalar)


def _finish(targets, totals, finish, extra, spot, on_scalar):
    """Turns complete sums, in PSUM or SBUF, into a tile of the result.

    finish      result                      extra
    none        total
    silu        silu(total)
    swiglu      silu(total) * total 1
    bias        total + extra[:, n]         [128, N], every row the same
    bias_rows   total + extra[:, m tile]    [128, tiles of M], float32
    scale       total * extra[:, m tile]    [128, tiles of M]
    residual    total + what dst holds      [M, N] in HBM, brought before
    times       total * what dst holds      [M, N] in HBM, brought before
    """
    dst, total, (row, first) = targets[0], totals[0], spot
    height, width = dst.shape
    if finish == "silu":
        nisa.activation(dst=dst, op=nl.silu, data=total)
    elif finish == "swiglu":
        gate = nl.ndarray(dst.shape, dtype=nl.float32, buffer=nl.sbuf)
        nisa.activation(dst=gate, op=nl.silu, data=total)
        nisa.tensor_tensor(dst=dst, data1=gate, data2=totals[1], op=nl.multiply)
    elif finish == "bias":
        _add(dst, total, extra[0:height, first : first + width], on_scalar)
    elif finish == "bias_rows":
        _shift(dst, total, extra[0:height, row : row + 1], on_scalar)
    elif finish == "scale":
        _scale(dst, total, extra[0:height, row : row + 1], on_scalar)
    elif finish == "residual":
        _add(dst, total, dst, on_scalar)
    elif finish == "times":
        nisa.tensor_tensor(dst=dst, data1=total, data2=dst, op=nl.multiply)
    else:
        for p in range(len(targets)):
            _copy(targets[p], totals[p], on_scalar)


def _on_scalar(evict, number):
    """Whether ScalarE empties PSUM, of tile after tile."""
    return evict == "scalar" or (evict == "both" and number % 2 == 1)


def _copy(dst, total, on_scalar):
    """Brings a tile to its place in SBUF."""
    if on_scalar:
        nisa.activation(dst=dst, op=nl.copy, data=total)
    else:
        nisa.tensor_copy(dst=dst, src=total, engine=nisa.engine.vector)


def _scale(dst, total, factor, on_scalar):
    """dst = total * factor[P,1]."""
    if on_scalar:
        nisa.activation(dst=dst, op=nl.copy, data=total, scale=factor)
    else:
        nisa.tensor_scalar(
            dst=dst, data=total, op0=nl.multiply, operand0=factor, engine=nisa.engine.vector
        )


def _shift(dst, total, bias, on_scalar):
    """dst = total + bias[P,1]."""
    if on_scalar:
        nisa.activation(dst=dst, op=nl.copy, data=total, bias=bias)
    else:
        nisa.tensor_scalar(
            dst=dst, data=total, op0=nl.add, operand0=bias, engine=nisa.engine.vector
        )


def _add(dst, product, partial, on_scalar):
    """dst = product + partial. ScalarE cannot add two tensors: it drains PSUM and GpSimd adds."""
    if on_scalar:
        spare = nl.ndarray(dst.shape, dtype=nl.float32, buffer=nl.sbuf)
        nisa.activation(dst=spare, op=nl.copy, data=product)
        nisa.tensor_tensor(
            dst=dst, data1=spare, data2=partial, op=nl.add, engine=nisa.engine.gpsimd
        )
    else:
        nisa.tensor_tensor(
            dst=dst, data1=product, data2=partial, op=nl.add, engine=nisa.engine.vector
        )
