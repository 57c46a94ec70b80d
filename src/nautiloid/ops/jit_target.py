"""The numba target of our kernels: a code generator of our own, whatever else numba compiles here.

numba keeps one code generator for a process and fixes its vectors when the first function is
decorated, in our code or anybody's. Wider vectors add in another order, so kernels on that one would
round by what was imported before. Import this only where `ops.compiled.is_available`.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from functools import cached_property
from typing import Any

from numba import jit
from numba.core import codegen, config, cpu, externals, registry
from numba.core.compiler_lock import global_compiler_lock
from numba.core.target_extension import (
    CPU,
    dispatcher_registry,
    jit_registry,
    target_override,
    target_registry,
)
from numba.core.utils import MACHINE_BITS

from nautiloid.ops.compiled import add_symbols

NAME = "nautiloid"


class _Codegen(codegen.JITCPUCodegen):
    def _get_host_cpu_features(self) -> str:
        features = super()._get_host_cpu_features()
        if config.CPU_FEATURES is None and "+avx512f" in features.split(","):  # type: ignore[attr-defined]
            # LLVM prefers half-width vectors on these processors: thin products run 1.4 times slower
            return features + ",-prefer-256-bit"
        return features


class _Context(cpu.CPUContext):
    @global_compiler_lock
    def init(self) -> None:
        self.is32bit = MACHINE_BITS == 32
        self._internal_codegen = _Codegen("numba.exec")
        externals.c_math_functions.install(self)


class _Descriptor(registry.CPUTarget):
    @cached_property
    def _toplevel_target_context(self) -> _Context:  # pyright: ignore[reportIncompatibleVariableOverride]
        return _Context(self.typing_context, self._target_name)


class _Dispatcher(registry.CPUDispatcher):
    targetdescr = _Descriptor(NAME)

    def compile(self, sig: Any) -> Any:
        with target_override(NAME):
            return super().compile(sig)


class _Kernels(CPU):
    """Takes the implementations of numba's CPU target."""


def njit(*args: Any, **options: Any) -> Any:
    """`numba.njit` for kernels and the functions that they call; others cannot be called by them."""
    return jit(*args, **{**options, "nopython": True, "_target": NAME})


add_symbols()
target_registry[NAME] = _Kernels
dispatcher_registry[_Kernels] = _Dispatcher
jit_registry[_Kernels] = njit
