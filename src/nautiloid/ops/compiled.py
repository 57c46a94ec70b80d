"""Compiled kernels for decoding on a CPU: numba code run by the OpenMP threads that torch owns.

A decoding step is a few hundred small operations; each costs more to start than to run. A kernel here
does the work of many of them in one parallel region. Kernels are written for one thread of a team:
every thread runs the whole function, takes its share by `thread()` and `team()`, and meets the
others at `barrier()`. Machine code is kept beside the package (or in the user's cache) and made anew
when the kernel's own file changes; after a change in `intrinsics.py` or `products.py`, delete the
`*.nbi` files in `__pycache__`.

numba's own threads would spin against torch's, which costs milliseconds a step; so kernels are
started by `GOMP_parallel` of the OpenMP library that torch has loaded. Where there is none
(`is_available`), the torch variants run. Their code generator is one of their own (`jit_target.py`).
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nautiloid.core.errors import InputError
from nautiloid.ops.backends import has, require

log = logging.getLogger("nautiloid.ops")

_SYMBOLS = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP library of torch, when it can start a region of ours."""
    if not sys.platform.startswith("linux") or not torch.backends.openmp.is_available():
        return None
    try:
        library = ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None
    return library if all(hasattr(library, name) for name in _SYMBOLS) else None


@functools.cache
def is_available() -> bool:
    """Whether compiled kernels can run here."""
    return has("numba") and _openmp() is not None


@functools.cache
def add_symbols() -> None:
    """Tell the compiler where the OpenMP functions are."""
    import llvmlite.binding as llvm

    library = _openmp()
    assert library is not None, "check is_available first"
    for name in _SYMBOLS:
        address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        llvm.add_symbol(name, address)


# sums may be reordered and contracted; NaN and infinity keep their meaning
FAST = {"reassoc", "contract", "nsz", "arcp"}


class Recording:
    """The kernels of one forward with their arguments, to be run again on the same memory.

    Attributes:
        obstacle: The operation that no kernel did, if any; such a forward cannot be repeated.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[int, array[int], int]] = []
        self.held: list[Any] = []
        self.obstacle: str | None = None
        self.table: array[int] | None = None

    def replay(self) -> None:
        """Run all kernels in one parallel region."""
        from nautiloid.ops import replay

        if self.table is None:
            self.table = replay.table(self.calls)
        replay.replay(self.table, len(self.calls))


class _Watch(TorchDispatchMode):
    """Holds what is allocated and notes what torch computes itself."""

    ALLOCATING = frozenset({"aten::empty", "aten::new_empty", "aten::empty_like"})

    def __init__(self, recording: Recording):
        super().__init__()
        self.recording = recording

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.name().partition(".")[0]
        if name == "aten::promote_types":
            return out
        if name in self.ALLOCATING:
            self.recording.held.append(out)
        elif func._schema.is_mutable or not _is_view(out, args):
            self.recording.obstacle = self.recording.obstacle or name
        return out


def _is_view(out: Any, args: Any) -> bool:
    """Whether all outputs lie in the memory of the first argument."""
    outputs = out if isinstance(out, list | tuple) else [out]
    if not args or not all(isinstance(t, Tensor) for t in (args[0], *outputs)):
        return False
    home = args[0].untyped_storage().data_ptr()
    return all(t.untyped_storage().data_ptr() == home for t in outputs)


@contextmanager
def record() -> Iterator[Recording]:
    """Run as usual and note every kernel."""
    recording = Recording()
    token = _recording.set(recording)
    try:
        with _Watch(recording):
            yield recording
    finally:
        _recording.reset(token)


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


class Kernel:
    """A compiled function of one array of 64-bit words, run by every thread of a team."""

    def __init__(self, function: Callable[..., None]):
        start = time.perf_counter()
        self.address = _machine_code(function)
        name = f"{function.__module__}.{function.__name__}"
        log.debug("compiled %s in %.1f s", name, time.perf_counter() - start)

    def __call__(self, *words: int, threads: int = 0) -> None:
        """Run with addresses, sizes and `bits` of floats; `threads` 0 takes torch's number."""
        arguments = array("q", words)
        recording = _recording.get()
        if recording is not None:
            recording.calls.append((self.address, arguments, threads))
        task = array("q", (self.address, arguments.buffer_info()[0]))
        entry, parallel = _start()
        parallel(entry.address, task.buffer_info()[0], threads or torch.get_num_threads(), 0)


def _machine_code(function: Callable[..., None]) -> int:
    """Address of a compiled function.

    It is taken from the library that numba keeps on disk: the wrapper around it is optimised together
    with it in the process that compiles, and alone in those that find it kept. For the same reason all
    functions that kernels call are inlined (`forceinline`): which copy of a function a call reaches
    depends on what else the process has compiled. Either way results would round otherwise.
    """
    from numba import types

    from nautiloid.ops.jit_target import njit

    signature = types.void(types.CPointer(types.int64))
    options = {"fastmath": FAST, "error_model": "numpy", "nogil": True}
    try:
        compiled = njit(signature, cache=True, **options)(function)
    except RuntimeError:  # neither the package nor the user's cache folder can be written
        compiled = njit(signature, **options)(function)
    (result,) = compiled.overloads.values()
    return result.library.get_pointer_to_function(result.fndesc.llvm_func_name)


@functools.cache
def _start() -> tuple[Any, Callable[..., None]]:
    """The function that every thread enters, and the one that starts the threads."""
    from numba import carray, cfunc, types

    from nautiloid.ops.intrinsics import call

    @cfunc(types.void(types.CPointer(types.int64)))
    def enter(p: Any) -> None:
        task = carray(p, 2)
        call(task[0], task[1])  # pyright: ignore[reportCallIssue]

    library = _openmp()
    assert library is not None
    parallel = library.GOMP_parallel
    parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return enter, parallel


def bits(value: float) -> int:
    """A float64 as the word a kernel receives.

    >>> bits(0.0)
    0
    """
    return array("q", array("d", [value]).tobytes())[0]


def fits(*tensors: Tensor | None) -> bool:
    """Whether kernels can take these tensors now: float32, contiguous, on the CPU, no gradients."""
    if torch.is_grad_enabled() or not is_available():
        return False
    return all(
        t is None or (t.dtype == torch.float32 and t.is_contiguous() and t.is_cpu) for t in tensors
    )


def is_plain(*tensors: Tensor | None) -> bool:
    """Whether kernels with a backward can take these: float32 on the CPU, last dim contiguous."""
    return all(
        t is None or (t.dtype == torch.float32 and t.is_cpu and t.stride(-1) == 1) for t in tensors
    )


def is_wanted(backend: str) -> bool:
    """Whether a backend asks for compiled kernels here.

    Raises:
        InputError: `numba` is asked for and missing, or there are no threads to run it.
    """
    if backend == "numba":
        require("numba", backend, "cpu")
        if not is_available():
            raise InputError("ops", backend, "needs torch's OpenMP library on Linux; use auto")
    return backend in ("auto", "numba") and is_available()
