"""Weights stored in 8 bits instead of their own dtype, for inference.

Every linear map, the routed experts, the embedding and the head are packed. Routers, norms,
convolutions and the parameters of the scan keep their dtype: they are small and steer everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nautiloid.core.errors import InputError
from nautiloid.model.linear import PackMixin

if TYPE_CHECKING:
    from nautiloid.model.decoder import Decoder

FORMATS = ("int8",)


def check_format(weight_format: str, device: torch.device | str) -> None:
    """Refuse a format that does not exist or has no kernels there.

    Raises:
        InputError: Names the remedy.
    """
    if weight_format not in FORMATS:
        raise InputError("weight_format", weight_format, f"use one of {', '.join(FORMATS)}")
    kind = torch.device(device).type
    if kind != "cpu":
        raise InputError("weight_format", weight_format, f"has no kernels for {kind}; use a CPU")


def pack_weights(model: Decoder, weight_format: str) -> None:
    """Replace the weights of a model; it cannot be trained or saved afterwards.

    Raises:
        InputError: There is no such format, or no kernel for it on the model's device.
    """
    check_format(weight_format, model.device)
    for module in model.modules():
        if isinstance(module, PackMixin) and not module.is_packed:
            module.pack()


def check_wide(model: Decoder, what: str) -> None:
    """Refuse to do something with packed weights that needs the wide ones.

    Raises:
        InputError: Weights are packed.
    """
    if any(isinstance(module, PackMixin) and module.is_packed for module in model.modules()):
        raise InputError(what, "weights in 8 bits", "load the model without weight_format for it")


def weight_bytes(model: Decoder) -> int:
    """Bytes of all parameters and buffers, memory shared by several counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
