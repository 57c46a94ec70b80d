"""Which variant of each operator runs; chosen at build time and stored on every block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Backend = Literal["auto", "reference", "torch", "triton", "numba"]


@dataclass(frozen=True, kw_only=True)
class OpsConfig:
    """Backend of each operator.

    `reference` is the plain formula, `torch` the fast plain-torch variant, `triton` the GPU kernels,
    `numba` the compiled CPU kernels of decoding, `auto` the fastest one that the installed packages,
    the device and the shape allow.

    Args:
        ssd: State-space scan.
        conv: Causal convolution with SiLU.
        norm: RMSNorm and gated group norm.
        attention: Softmax attention.
        experts: Routed experts.
        deterministic: Use only variants whose results do not depend on scheduling.
    """

    ssd: Backend = "auto"
    conv: Backend = "auto"
    norm: Backend = "auto"
    attention: Backend = "auto"
    experts: Backend = "auto"
    deterministic: bool = True

    @classmethod
    def reference(cls) -> OpsConfig:
        """Every operator by its plain formula.

        >>> OpsConfig.reference().ssd
        'reference'
        """
        return cls(
            ssd="reference",
            conv="reference",
            norm="reference",
            attention="reference",
            experts="reference",
        )
