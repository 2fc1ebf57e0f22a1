#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs kernels that numba compiles on the spot on any CUDA driver, checked against numpy.

    numba_kernels.py --driver PATH [NAME...]

PATH is loaded as libcuda.so.1. Where numba is not installed, the program starts itself again in
the virtual environment .cache/numba (see requirements.txt); without that it exits 77. Prints each
case and at the end "N passed, N failed, N skipped"; exit 1 if any failed.
"""
import argparse
import glob
import importlib.util
import math
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIPPED = 77
CASES = []


def case(function):
    CASES.append(function)
    return function


def use_numba():
    if importlib.util.find_spec("numba") and importlib.util.find_spec("numba_cuda"):
        return
    found = glob.glob(os.path.join(ROOT, ".cache/numba/bin/python3"))
    if not found or os.environ.get("NUMBA_KERNELS_CHILD"):
        print("numba_kernels: numba is not installed: see tests/ptx/requirements.txt")
        sys.exit(SKIPPED)
    os.environ["NUMBA_KERNELS_CHILD"] = "1"
    os.execv(found[0], [found[0]] + sys.argv)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--driver", required=True)
    parser.add_argument("names", nargs="*")
    return parser.parse_args()


def prepare(driver, directory):
    """The driver under the name that programs look for, and numba told to link through it."""
    path = os.path.join(directory, "libcuda.so.1")
    os.symlink(os.path.abspath(driver), path)
    os.environ["NUMBA_CUDA_DRIVER"] = path
    os.environ["NUMBA_CUDA_USE_NVIDIA_BINDING"] = "0"
    os.environ["NUMBA_CUDA_ENABLE_PYNVJITLINK"] = "0"
    os.environ["NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS"] = "0"
    os.environ["NUMBA_CUDA_WARN_ON_IMPLICIT_COPY"] = "0"


def close(got, want, relative):
    import numpy as np

    np.testing.assert_allclose(got, want, rtol=relative, atol=0)


def equal(got, want):
    import numpy as np

    np.testing.assert_array_equal(got, want)


@case
def vector_add(cuda, np, random):
    @cuda.jit
    def kernel(a, b, c):
        i = cuda.grid(1)
        if i < c.size:
            c[i] = a[i] + b[i]

    for kind in (np.float32, np.float64, np.int32, np.int64):
        a = (random.random(1000) * 1000 + 1).astype(kind)
        b = (random.random(1000) * 1000 + 1).astype(kind)
        c = np.full(1000, 77, kind)
        kernel[8, 128](a, b, c)
        equal(c, a + b)


@case
def device_function(cuda, np, random):
    @cuda.jit(device=True)
    def polynomial(x, k):
        return k * x * x + 1.0

    @cuda.jit(device=True, inline=False)
    def steps(n):
        count = 0
        while n != 1:
            n = 3 * n + 1 if n % 2 else n // 2
            count += 1
        return count

    @cuda.jit
    def kernel(x, y, n):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = polynomial(x[i], 3.0)
            n[i] = steps(i + 1)

    x = random.random(500)
    y, n = np.zeros(500), np.zeros(500, np.int64)
    kernel[4, 128](x, y, n)
    close(y, 3 * x * x + 1, 1e-15)
    for i in (0, 2, 26, 96):
        assert n[i] == {0: 0, 2: 7, 26: 111, 96: 118}[i], (i, n[i])


@case
def shared_reduction(cuda, np, random):
    from numba import float64

    @cuda.jit
    def kernel(x, sums):
        shared = cuda.shared.array(128, float64)
        t = cuda.threadIdx.x
        i = cuda.grid(1)
        shared[t] = x[i] if i < x.size else 0.0
        cuda.syncthreads()
        half = 64
        while half > 0:
            if t < half:
                shared[t] += shared[t + half]
            cuda.syncthreads()
            half //= 2
        if t == 0:
            sums[cuda.blockIdx.x] = shared[0]

    x = random.random(5000) + 1
    sums = np.zeros(40)
    kernel[40, 128](x, sums)
    close(sums.sum(), x.sum(), 1e-13)


@case
def dynamic_shared(cuda, np, random):
    from numba import int32

    @cuda.jit
    def kernel(x, y):
        shared = cuda.shared.array(0, int32)
        t = cuda.threadIdx.x
        shared[t] = x[t]
        cuda.syncthreads()
        y[t] = shared[cuda.blockDim.x - 1 - t]

    x = random.integers(1, 1 << 30, 256).astype(np.int32)
    y = np.zeros(256, np.int32)
    kernel[1, 256, 0, 1024](x, y)
    equal(y, x[::-1])


@case
def matrix_product(cuda, np, random):
    from numba import float32

    tile = 8

    @cuda.jit
    def kernel(a, b, c):
        sa = cuda.shared.array((tile, tile), float32)
        sb = cuda.shared.array((tile, tile), float32)
        x, y = cuda.grid(2)
        tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
        total = float32(0)
        for base in range(0, a.shape[1], tile):
            sa[tx, ty] = a[x, base + ty]
            sb[tx, ty] = b[base + tx, y]
            cuda.syncthreads()
            for k in range(tile):
                total += sa[tx, k] * sb[k, ty]
            cuda.syncthreads()
        c[x, y] = total

    a = random.random((32, 48)).astype(np.float32)
    b = random.random((48, 40)).astype(np.float32)
    c = np.zeros((32, 40), np.float32)
    kernel[(4, 5), (tile, tile)](a, b, c)
    close(c, a.astype(np.float64) @ b, 1e-5)


@case
def atomics(cuda, np, random):
    @cuda.jit
    def kernel(x, bins, extremes, sums, turns):
        i = cuda.grid(1)
        if i < x.size:
            cuda.atomic.add(bins, x[i] & 15, 1)
            cuda.atomic.max(extremes, 0, x[i])
            cuda.atomic.min(extremes, 1, x[i])
            cuda.atomic.add(sums, 0, float(x[i]))
            cuda.atomic.xor(turns, 0, x[i])
            cuda.atomic.inc(turns, 1, 9)
            cuda.atomic.cas(turns, 2, 0, i + 1)

    x = random.integers(1, 1 << 20, 3000).astype(np.uint32)
    bins = np.zeros(16, np.int32)
    extremes = np.array([0, 1 << 30], np.uint32)
    sums, turns = np.zeros(1), np.zeros(3, np.uint32)
    kernel[24, 128](x, bins, extremes, sums, turns)
    equal(bins, np.bincount(x & 15, minlength=16))
    equal(extremes, [x.max(), x.min()])
    equal(sums, [float(x.sum())])
    equal(turns[:2], [np.bitwise_xor.reduce(x), 3000 % 10])
    assert 1 <= turns[2] <= 3000


def check_math(cuda, np, random, kind, relative):
    @cuda.jit
    def kernel(x, large, y):
        i = cuda.grid(1)
        if i < x.size:
            v = x[i]
            y[0, i] = math.sin(v)
            y[1, i] = math.cos(v)
            y[2, i] = math.exp(v)
            y[3, i] = math.log(v)
            y[4, i] = math.sqrt(v)
            y[5, i] = math.pow(v, v)
            y[6, i] = math.erf(v)
            y[7, i] = math.tanh(v)
            y[8, i] = math.atan2(v, v + v)
            y[9, i] = math.floor(large[i])
            y[10, i] = math.fabs(-v)
            y[11, i] = math.lgamma(v)
            y[12, i] = math.tan(v)
            y[13, i] = math.asin(v / 4)
            y[14, i] = math.fmod(large[i], v)
            y[15, i] = math.log1p(v)

    x = (random.random(256) * 2.5 + 0.5).astype(kind)
    large = (random.random(256) * 1000 - 500).astype(kind)
    y = np.zeros((16, 256), kind)
    kernel[2, 128](x, large, y)
    w = x.astype(np.float64)
    want = [np.sin(w), np.cos(w), np.exp(w), np.log(w), np.sqrt(w), w**w,
            [math.erf(v) for v in w], np.tanh(w), np.arctan2(w, w + w), None, w,
            None, np.tan(w), np.arcsin(w / 4), None, np.log1p(w)]
    for row, values in enumerate(want):
        if values is not None:
            np.testing.assert_allclose(y[row], values, rtol=relative, atol=relative)
    equal(y[9], np.floor(large))
    np.testing.assert_allclose(y[11], [math.lgamma(v) for v in w], rtol=relative, atol=4 * relative)
    equal(y[14], np.fmod(large, x))


@case
def math_float32(cuda, np, random):
    check_math(cuda, np, random, np.float32, 3e-6)


@case
def math_float64(cuda, np, random):
    check_math(cuda, np, random, np.float64, 1e-14)


@case
def integers(cuda, np, random):
    @cuda.jit
    def kernel(a, b, y):
        i = cuda.grid(1)
        if i < a.size:
            y[0, i] = a[i] // b[i]
            y[1, i] = a[i] % b[i]
            y[2, i] = a[i] >> (b[i] & 15)
            y[3, i] = (a[i] << 3) ^ b[i]
            y[4, i] = cuda.popc(a[i])
            y[5, i] = cuda.clz(b[i])
            y[6, i] = cuda.brev(np.uint32(b[i]))
            y[7, i] = min(a[i], b[i]) * 3 - max(a[i], b[i])

    a = random.integers(-(1 << 40), 1 << 40, 300)
    b = random.integers(1, 1 << 20, 300)
    y = np.zeros((8, 300), np.int64)
    kernel[3, 128](a, b, y)
    popcount = [bin(int(v) & (2**64 - 1)).count("1") for v in a]
    zeros = [64 - int(v).bit_length() for v in b]
    reversed_bits = [int(f"{int(v):032b}"[::-1], 2) for v in b]
    equal(y, [a // b, a % b, a >> (b & 15), (a << 3) ^ b, popcount, zeros, reversed_bits,
              np.minimum(a, b) * 3 - np.maximum(a, b)])


@case
def mandelbrot_2d(cuda, np, random):
    @cuda.jit
    def kernel(image, limit):
        x, y = cuda.grid(2)
        if x < image.shape[0] and y < image.shape[1]:
            c = complex(-2 + 3.0 * x / image.shape[0], -1 + 2.0 * y / image.shape[1])
            z = 0j
            n = 0
            while n < limit and z.real * z.real + z.imag * z.imag <= 4:
                z = z * z + c
                n += 1
            image[x, y] = n

    image = np.zeros((50, 30), np.int32)
    kernel[(7, 4), (8, 8)](image, 60)
    assert image[33, 15] == 60 and image[0, 0] <= 2
    assert 100 < (image == 60).sum() < 700, (image == 60).sum()


@case
def warp(cuda, np, random):
    @cuda.jit
    def kernel(x, y):
        t = cuda.threadIdx.x
        value = x[t]
        offset = 16
        while offset > 0:
            value += cuda.shfl_down_sync(0xFFFFFFFF, value, offset)
            offset //= 2
        y[0, t] = cuda.shfl_sync(0xFFFFFFFF, value, 0)
        y[1, t] = cuda.ballot_sync(0xFFFFFFFF, x[t] & 1)
        y[2, t] = cuda.shfl_xor_sync(0xFFFFFFFF, x[t], 5)
        y[3, t] = cuda.laneid

    x = random.integers(1, 1000, 64).astype(np.int32)
    y = np.zeros((4, 64), np.int64)
    kernel[1, 64](x, y)
    for w in (0, 32):
        part = x[w : w + 32]
        equal(y[0, w : w + 32], part.sum())
        ballot = sum(int(v & 1) << k for k, v in enumerate(part))
        equal(y[1, w : w + 32].astype(np.uint32), np.uint32(ballot))
        equal(y[2, w : w + 32], part[np.arange(32) ^ 5])
        equal(y[3, w : w + 32], np.arange(32))


@case
def constants_and_local(cuda, np, random):
    from numba import float64

    table = np.arange(10, dtype=np.float64) ** 2 + 1

    @cuda.jit
    def kernel(y):
        i = cuda.grid(1)
        const = cuda.const.array_like(table)
        local = cuda.local.array(10, float64)
        for k in range(10):
            local[(k * 7 + i) % 10] = const[k] + i
        total = 0.0
        for k in range(10):
            total = total * 0.5 + local[k]
        y[i] = total

    y = np.zeros(64)
    kernel[1, 64](y)
    for i in range(64):
        local = np.zeros(10)
        for k in range(10):
            local[(k * 7 + i) % 10] = table[k] + i
        total = 0.0
        for k in range(10):
            total = total * 0.5 + local[k]
        close(y[i], total, 1e-15)


@case
def debug_build(cuda, np, random):
    @cuda.jit(debug=True, opt=False)
    def kernel(x, i):
        x[i] = x[i] * 2

    @cuda.jit(debug=True, opt=False)
    def divides(x):
        if x[0] > 5:
            raise ValueError("too large")
        x[0] = 0

    x = np.arange(4, dtype=np.float64)
    kernel[1, 1](x, 3)
    equal(x, [0, 1, 2, 6])
    divides[1, 1](x)
    x[0] = 9
    try:
        divides[1, 1](x)
    except ValueError:
        return
    raise AssertionError("the kernel's exception did not arrive")


@case
def ufunc_and_reduce(cuda, np, random):
    from numba import vectorize

    @vectorize(["float64(float64, float64)"], target="cuda")
    def hypotenuse(a, b):
        return math.sqrt(a * a + b * b)

    a, b = random.random(2000), random.random(2000)
    close(hypotenuse(a, b), np.hypot(a, b), 1e-14)
    total = cuda.reduce(lambda p, q: p + q)
    close(total(a), a.sum(), 1e-12)


@case
def streams_and_events(cuda, np, random):
    @cuda.jit
    def kernel(x):
        i = cuda.grid(1)
        x[i] = x[i] * 3 + 1

    stream = cuda.stream()
    start, end = cuda.event(), cuda.event()
    x = cuda.pinned_array(256, np.int64)
    x[:] = np.arange(256)
    start.record(stream)
    device = cuda.to_device(x, stream=stream)
    for _ in range(3):
        kernel[2, 128, stream](device)
    end.record(stream)
    got = device.copy_to_host(stream=stream)
    stream.synchronize()
    equal(got, 27 * np.arange(256) + 13)
    assert start.elapsed_time(end) >= 0


@case
def mapped_memory(cuda, np, random):
    @cuda.jit
    def kernel(x):
        i = cuda.grid(1)
        x[i] += 5

    x = cuda.mapped_array(64, np.int32)
    x[:] = np.arange(64)
    kernel[1, 64](x)
    cuda.synchronize()
    equal(x, np.arange(64) + 5)


@case
def random_numbers(cuda, np, random):
    from numba.cuda.random import create_xoroshiro128p_states, xoroshiro128p_uniform_float32

    @cuda.jit
    def kernel(states, inside):
        i = cuda.grid(1)
        count = 0
        for _ in range(200):
            x = xoroshiro128p_uniform_float32(states, i)
            y = xoroshiro128p_uniform_float32(states, i)
            if x * x + y * y < 1.0:
                count += 1
        inside[i] = count

    inside = np.zeros(256, np.int32)
    kernel[2, 128](create_xoroshiro128p_states(256, seed=3), inside)
    assert abs(4 * inside.sum() / (256 * 200) - math.pi) < 0.05


@case
def prints(cuda, np, random):
    @cuda.jit
    def kernel():
        print("thread", cuda.threadIdx.x, 2.5)

    sys.stdout.flush()
    saved = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        kernel[1, 2]()
        cuda.synchronize()
        flush_stdio()
        os.dup2(saved, 1)
        file.seek(0)
        lines = sorted(file.read().decode().splitlines())
    assert lines == ["thread 0 2.500000", "thread 1 2.500000"], lines


def flush_stdio():
    import ctypes

    ctypes.CDLL(None).fflush(None)


def run(function, cuda, np):
    name = function.__name__
    try:
        function(cuda, np, np.random.default_rng(7))
    except Exception as error:  # whatever numba or the driver raise, the other cases go on
        first = str(error).strip().splitlines()
        print(f"FAIL {name}: {type(error).__name__}: {' | '.join(first[:6])}", flush=True)
        return False
    print(f"ok   {name}", flush=True)
    return True


def main():
    options = parse()
    unknown = set(options.names) - {function.__name__ for function in CASES}
    if unknown:
        sys.exit(f"numba_kernels: no case {', '.join(sorted(unknown))}")
    use_numba()
    with tempfile.TemporaryDirectory() as directory:
        prepare(options.driver, directory)
        import numpy as np
        from numba import cuda

        chosen = [f for f in CASES if not options.names or f.__name__ in options.names]
        passed = sum(run(function, cuda, np) for function in chosen)
        print(f"{passed} passed, {len(chosen) - passed} failed, 0 skipped")
        sys.stdout.flush()
    sys.exit(0 if passed == len(chosen) else 1)


if __name__ == "__main__":
    main()
