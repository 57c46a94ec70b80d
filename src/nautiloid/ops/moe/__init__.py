"""Routing and routed experts: reference and grouped variants."""

from nautiloid.ops.config import Backend
from nautiloid.ops.moe import grouped, reference
from nautiloid.ops.moe.reference import Routing, activate, balance_loss, choose, route

__all__ = ["Routing", "activate", "balance_loss", "choose", "grouped", "pick", "reference", "route"]


def pick(backend: Backend):
    """The routed-experts function of a backend."""
    return reference.experts if backend == "reference" else grouped.experts
