"""The base class of block modules, and how one is found from its config."""

from __future__ import annotations

import importlib
from typing import Any, Generic, TypeVar, cast

from torch import Tensor, nn

from nautiloid.model.blocks.config import BlockConfig
from nautiloid.model.context import Context
from nautiloid.ops.config import OpsConfig

ConfigT = TypeVar("ConfigT", bound=BlockConfig)


class Block(nn.Module, Generic[ConfigT]):
    """The mixer of one residual block: `forward(x_TD, ctx) -> TD`.

    Args:
        config: Sizes of the block.
        d: Hidden size.
        eps: Epsilon of its norms.
        ops: Operator variants.
        layer: Key of its states (`layers.3`).
        where: Device and dtype of its tensors.
    """

    def __init__(
        self, config: ConfigT, d: int, eps: float, ops: OpsConfig, layer: str, **where: Any
    ):
        super().__init__()
        self.config = config
        self.d = d
        self.eps = eps
        self.ops = ops
        self.layer = layer

    def forward(self, x_TD: Tensor, ctx: Context) -> Tensor:
        """Mix tokens or channels; the residual is added outside."""
        raise TypeError(f"{type(self).__name__} does not define forward")


def build_block(
    config: BlockConfig, d: int, eps: float, ops: OpsConfig, layer: str, **where: Any
) -> Block[BlockConfig]:
    """Build the module that lives beside the config: `block.py` of the same folder."""
    package = type(config).__module__.rpartition(".")[0]
    module = importlib.import_module(f"{package}.block")
    name = type(config).__name__.removesuffix("Config")
    return cast(Block[BlockConfig], getattr(module, name)(config, d, eps, ops, layer, **where))
