"""What compiled kernels need below numba's Python: addresses, threads, prefetch, a fast exp.

Import this only where numba is installed.
"""
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nautiloid.ops.jit_target import njit

_BYTE_POINTER = ir.IntType(8).as_pointer()
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def barrier(typingctx):
    """Wait for all threads of the team."""

    def build(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "GOMP_barrier"), [])
        return context.get_dummy_value()

    return types.void(), build


@intrinsic
def thread(typingctx):
    """Number of this thread."""

    def build(context, builder, signature, args):
        kind = ir.FunctionType(_INT32, [])
        call = cgutils.get_or_insert_function(builder.module, kind, "omp_get_thread_num")
        return builder.sext(builder.call(call, []), _INT64)

    return types.int64(), build


@intrinsic
def team(typingctx):
    """How many threads run the kernel."""

    def build(context, builder, signature, args):
        kind = ir.FunctionType(_INT32, [])
        call = cgutils.get_or_insert_function(builder.module, kind, "omp_get_num_threads")
        return builder.sext(builder.call(call, []), _INT64)

    return types.int64(), build


@intrinsic
def call(typingctx, function, argument):
    """Call the kernel at an address with the address of its arguments.

    Kernels have numba's calling convention: places for a result and an exception come first.
    """

    def build(context, builder, signature, args):
        place = _BYTE_POINTER.as_pointer()
        kind = ir.FunctionType(_INT32, [place, place, _INT64.as_pointer()])
        target = builder.inttoptr(args[0], kind.as_pointer())
        unused = [cgutils.alloca_once(builder, _BYTE_POINTER) for _ in range(2)]
        builder.call(target, [*unused, builder.inttoptr(args[1], _INT64.as_pointer())])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), build


@intrinsic
def floats(typingctx, address):
    """The float32 numbers at an address."""

    def build(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), build


@intrinsic
def integers(typingctx, address):
    """The int64 numbers at an address."""

    def build(context, builder, signature, args):
        return builder.inttoptr(args[0], _INT64.as_pointer())

    return types.CPointer(types.int64)(types.int64), build


@intrinsic
def small_integers(typingctx, address):
    """The int8 numbers at an address."""

    def build(context, builder, signature, args):
        return builder.inttoptr(args[0], _BYTE_POINTER)

    return types.CPointer(types.int8)(types.int64), build


@intrinsic
def bfloat(typingctx, address):
    """The bfloat16 number at an address, as a float32."""

    def build(context, builder, signature, args):
        word = builder.load(builder.inttoptr(args[0], ir.IntType(16).as_pointer()))
        word.align = 2
        wide = builder.shl(builder.zext(word, _INT32), ir.Constant(_INT32, 16))
        return builder.bitcast(wide, ir.FloatType())

    return types.float32(types.int64), build


@intrinsic
def real(typingctx, word):
    """The float64 whose bits a word holds."""

    def build(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), build


@intrinsic
def _power_of_two(typingctx, exponent):
    """2**n of an int32 n from -126 to 127."""

    def build(context, builder, signature, args):
        biased = builder.add(args[0], ir.Constant(_INT32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(_INT32, 23)), ir.FloatType())

    return types.float32(types.int32), build


# no reordering here: it would fold the two parts of ln 2 into one
@njit(fastmath={"contract"}, error_model="numpy", forceinline=True)
def exp32(x):
    """exp of a float32 to 2 ulp, in instructions that vectorise; 0 below -87, 1.7e38 above 88."""
    low, high = np.float32(-87.0), np.float32(88.0)
    c = min(max(x, low), high)
    n = np.floor(c * np.float32(1.4426950408889634) + np.float32(0.5))
    # ln 2 in two parts keeps the remainder exact
    r = c - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * (r * r) + r + np.float32(1.0)
    y = p * _power_of_two(np.int32(n))
    # a NaN is not clipped by min and max everywhere
    return y if x == x else x


@njit(fastmath={"contract"}, error_model="numpy", forceinline=True)
def silu32(x):
    """x / (1 + exp(-x)) of a float32."""
    return x / (np.float32(1.0) + exp32(-x))


@njit(error_model="numpy", forceinline=True)
def share(count, index, parts):
    """First and last + 1 of a thread's part of `count` items."""
    return count * index // parts, count * (index + 1) // parts


LANES = 16
# row blocks that are asked for before their turn
AHEAD = 2


@intrinsic
def outer_block(typingctx, weight, stride, inputs, count, out, rows):
    """`out[r, :16] = sum_j weight[r, j] inputs[j, :16]` for `rows` (a literal) rows of the weight.

    One vector instruction a weight, and no sum across lanes at the end. While a row block is
    multiplied, the `rows` rows that follow in memory are asked for.

    Args:
        weight: Address of the first row.
        stride: float32 numbers from one row to the next.
        inputs: Address of [count, 16].
        count: Columns of the weight.
        out: Address of [rows, 16].
        rows: How many rows, a constant.
    """
    if not isinstance(rows, types.IntegerLiteral):
        return None
    height = rows.literal_value
    single, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)

    def build(context, builder, signature, args):
        base = builder.inttoptr(args[0], single.as_pointer())
        across = builder.inttoptr(args[2], vector.as_pointer())
        target = builder.inttoptr(args[4], vector.as_pointer())
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32"
        )
        fetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, _INT32, _INT32, _INT32]),
            "llvm.prefetch.p0",
        )
        flags = [ir.Constant(_INT32, v) for v in (0, 3, 1)]
        sums = [cgutils.alloca_once(builder, vector) for _ in range(height)]
        for s in sums:
            builder.store(ir.Constant(vector, [0.0] * LANES), s)
        lines = [builder.gep(base, [builder.mul(args[1], _INT64(r))]) for r in range(height)]
        ahead = builder.mul(args[1], _INT64(height))
        with cgutils.for_range(builder, args[3]) as loop:
            x = builder.load(builder.gep(across, [loop.index]))
            x.align = 4
            is_line = builder.icmp_signed(
                "==", builder.and_(loop.index, _INT64(LANES - 1)), _INT64(0)
            )
            with builder.if_then(is_line):
                for line in lines:
                    at = builder.gep(line, [builder.add(loop.index, ahead)])
                    builder.call(fetch, [builder.bitcast(at, _BYTE_POINTER), *flags])
            for line, s in zip(lines, sums, strict=True):
                w = builder.load(builder.gep(line, [loop.index]))
                first = builder.insert_element(ir.Constant(vector, ir.Undefined), w, _INT32(0))
                every = builder.shuffle_vector(
                    first,
                    ir.Constant(vector, ir.Undefined),
                    ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES),
                )
                builder.store(builder.call(fma, [every, x, builder.load(s)]), s)
        for r, s in enumerate(sums):
            place = builder.store(builder.load(s), builder.gep(target, [_INT64(r)]))
            place.align = 4
        return context.get_dummy_value()

    return types.void(weight, stride, inputs, count, out, rows), build


@intrinsic
def dot_block(typingctx, weight, stride, x0, x1, x2, x3, count, out, across, rows, columns):
    """`out[c * across + r] = weight[r] . x_c` for `rows` weight rows and the first `columns` inputs.

    Every weight is read once and the rows that follow in memory are asked for meanwhile.

    Args:
        weight: Address of the first row.
        stride: float32 numbers from one row to the next.
        x0: Address of the first input; x1, x2, x3 likewise.
        count: Columns of the weight, a multiple of 16.
        out: Address of the result for row 0 and input 0.
        across: float32 numbers in `out` from one input to the next.
        rows: How many rows, a constant.
        columns: How many inputs, a constant from 1 to 4.
    """
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(columns, types.IntegerLiteral)):
        return None
    height, width = rows.literal_value, columns.literal_value
    single, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)

    def build(context, builder, signature, args):
        base, step, total, across_at = args[0], args[1], args[6], args[8]
        lines = [
            builder.add(base, builder.mul(step, _INT64(4 * r))) for r in range(height)
        ]  # fmt: skip
        inputs = args[2 : 2 + width]
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32"
        )
        fetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, _INT32, _INT32, _INT32]),
            "llvm.prefetch.p0",
        )
        reduce = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(single, [single, vector]),
            "llvm.vector.reduce.fadd.v16f32",
        )
        flags = [ir.Constant(_INT32, v) for v in (0, 3, 1)]
        sums = [[cgutils.alloca_once(builder, vector) for _ in range(width)] for _ in range(height)]
        for place in [s for row in sums for s in row]:
            builder.store(ir.Constant(vector, [0.0] * LANES), place)
        ahead = builder.mul(step, _INT64(4 * height * AHEAD))

        def load(address, offset):
            at = builder.inttoptr(builder.add(address, offset), vector.as_pointer())
            value = builder.load(at)
            value.align = 4
            return value

        with cgutils.for_range(builder, builder.sdiv(total, _INT64(LANES))) as loop:
            offset = builder.mul(loop.index, _INT64(4 * LANES))
            values = [load(x, offset) for x in inputs]
            for line, row in zip(lines, sums, strict=True):
                at = builder.add(line, builder.add(offset, ahead))
                builder.call(fetch, [builder.inttoptr(at, _BYTE_POINTER), *flags])
                w = load(line, offset)
                for x, place in zip(values, row, strict=True):
                    builder.store(builder.call(fma, [w, x, builder.load(place)]), place)
        for r, row in enumerate(sums):
            for c, place in enumerate(row):
                result = builder.call(
                    reduce, [ir.Constant(single, 0.0), builder.load(place)], fastmath=("reassoc",)
                )
                at = builder.add(builder.mul(across_at, _INT64(c)), _INT64(r))
                at = builder.add(args[7], builder.mul(at, _INT64(4)))
                builder.store(result, builder.inttoptr(at, single.as_pointer()))
        return context.get_dummy_value()

    return types.void(
        weight, stride, x0, x1, x2, x3, count, out, across, rows, columns
    ), build  # fmt: skip


@intrinsic
def scan_block(typingctx, state, x, b, c, stride, steps, heads, y, across, count):
    """Advance 16 by 16 numbers of a Mamba state by `count` tokens, and add their part of the outputs.

    `state[n, :16] = decay state[n, :16] + dt x[:16] b[n]`, then `y[:16] += c[n] state[n, :16]`, with
    the state in registers from the first token to the last.

    Args:
        state: Address of [16, 16], n by p.
        x: Address of the 16 inputs of the first token; b and c likewise.
        stride: float32 numbers from one token's x, b and c to the next's.
        steps: Address of dt of the first token; its decay lies `heads` numbers behind.
        heads: Half the numbers from one token's dt to the next's.
        y: Address of the 16 outputs of the first token.
        across: float32 numbers from one token's outputs to the next's.
        count: Tokens.
    """
    single, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)

    def build(context, builder, signature, args):
        home, x, b, c, stride, steps, heads, y, across, count = args
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32"
        )

        def load(address, kind):
            value = builder.load(builder.inttoptr(address, kind.as_pointer()))
            value.align = 4
            return value

        def store(value, address):
            builder.store(value, builder.inttoptr(address, vector.as_pointer())).align = 4

        def every(address):
            """A number in all lanes."""
            undefined = ir.Constant(vector, ir.Undefined)
            first = builder.insert_element(undefined, load(address, single), _INT32(0))
            return builder.shuffle_vector(
                first, undefined, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES)
            )

        rows = [cgutils.alloca_once(builder, vector) for _ in range(LANES)]
        for n, row in enumerate(rows):
            builder.store(load(builder.add(home, _INT64(4 * LANES * n)), vector), row)
        with cgutils.for_range(builder, count) as loop:
            token = builder.mul(builder.mul(loop.index, stride), _INT64(4))
            at = builder.add(steps, builder.mul(builder.mul(loop.index, heads), _INT64(8)))
            decay = every(builder.add(at, builder.mul(heads, _INT64(4))))
            step = builder.fmul(every(at), load(builder.add(x, token), vector))
            target = builder.add(y, builder.mul(builder.mul(loop.index, across), _INT64(4)))
            # four sums, so that none waits for the one before it
            zero = ir.Constant(vector, [0.0] * LANES)
            sums = [load(target, vector), zero, zero, zero]
            b_at, c_at = builder.add(b, token), builder.add(c, token)
            for n, row in enumerate(rows):
                offset = _INT64(4 * n)
                new = builder.fmul(step, every(builder.add(b_at, offset)))
                h = builder.call(fma, [builder.load(row), decay, new])
                builder.store(h, row)
                sums[n % 4] = builder.call(fma, [h, every(builder.add(c_at, offset)), sums[n % 4]])
            total = builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))
            store(total, target)
        for n, row in enumerate(rows):
            store(builder.load(row), builder.add(home, _INT64(4 * LANES * n)))
        return context.get_dummy_value()

    return types.void(state, x, b, c, stride, steps, heads, y, across, count), build
