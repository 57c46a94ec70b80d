"""The decoder: embedding, residual blocks, final norm, head; one forward for training and serving.

Suffixes: B rows, T tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nautiloid.core.errors import InputError
from nautiloid.core.seed import Seed
from nautiloid.model.blocks.base import build_block
from nautiloid.model.blocks.mamba.config import MambaConfig
from nautiloid.model.blocks.moe.block import MoE
from nautiloid.model.config import ModelConfig
from nautiloid.model.context import Aux, Context, Output
from nautiloid.model.linear import FormatMixin, Linear, PackMixin, ResidualNorm
from nautiloid.model.memory import Memory
from nautiloid.model.memory_config import MemoryConfig
from nautiloid.model.mtp import MTP
from nautiloid.model.precision import PrecisionConfig
from nautiloid.model.residual import residual
from nautiloid.ops import norm
from nautiloid.ops.config import OpsConfig
from nautiloid.ops.embedding import embedding
from nautiloid.ops.embedding.packed import packed_embedding
from nautiloid.ops.linear import linear, wide_linear
from nautiloid.ops.linear.packed import packed_linear
from nautiloid.ops.norm import Norms
from nautiloid.ops.quant import quant


class Embedding(nn.Module, PackMixin):
    """Token embeddings, unscaled."""

    def __init__(self, vocabulary: int, d: int, **where: Any):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, d, **where))

    def forward(self, tokens: Tensor) -> Tensor:
        """Rows of the table."""
        if self.is_packed:
            return packed_embedding(tokens, self.packed()).to(self.wide_dtype)
        return embedding(tokens, self.weight)

    def pack(self) -> None:
        """Store the table in 8 bits."""
        self._pack("weight", self.weight)
        del self.weight


class Layer(nn.Module):
    """One pre-norm residual block: `x + mixer(norm(x))`.

    The sum is left to the norm of the next layer, which makes one kernel of both: layers hand on the
    stream before their own output, and that output.
    """

    def __init__(self, config: ModelConfig, index: int, ops: OpsConfig, norms: Norms, **where: Any):
        super().__init__()
        d, eps = config.hidden_size, config.layer_norm_epsilon
        self.index = index
        self.norm = ResidualNorm(d, eps, norms, **where)
        self.mixer = build_block(config.layer(index), d, eps, ops, f"layers.{index}", **where)
        self.memory: Memory | None = None

    def forward(self, x_TD: Tensor, delta_TD: Tensor | None, ctx: Context) -> tuple[Tensor, Tensor]:
        """The residual stream with `delta` added, and the mixer's output that is to be added next."""
        return residual(self.norm, self.mixer, x_TD, delta_TD, ctx, self.memory, self.index)


class Decoder(nn.Module):
    """A model of any `ModelConfig`.

    Tensors are allocated and not initialised: call `init_weights` or load a folder.

    Args:
        config: Shape of the model.
        ops: Operator variants, stored on each block.
        precision: Number formats of the linear maps.
        device: Where tensors live.
        dtype: Dtype of the weights.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        ops: OpsConfig | None = None,
        precision: PrecisionConfig | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.config = config
        self.ops = ops or OpsConfig()
        where = {"device": device, "dtype": dtype}
        norms = norm.pick(self.ops.norm)
        d, v = config.hidden_size, config.vocab_size
        self.embeddings = Embedding(v, d, **where)
        self.layers = nn.ModuleList(
            Layer(config, i, self.ops, norms, **where) for i in range(config.num_hidden_layers)
        )
        self.norm_f = ResidualNorm(d, config.layer_norm_epsilon, norms, **where)
        self.lm_head = None if config.tie_word_embeddings else Linear(d, v, **where)
        self.memory: Memory | None = None
        self.mtp = MTP(config, self.ops, norms, **where) if config.mtp else None
        self._set_precision(precision or PrecisionConfig())

    def _set_precision(self, precision: PrecisionConfig) -> None:
        used: set[int] = set()
        for name, module in self.named_modules():
            if not isinstance(module, FormatMixin):
                continue
            parts = name.split(".")
            in_trunk = parts[0] == "layers"
            layer = int(parts[1]) if in_trunk else None
            rule = precision.find(".".join(parts[2:]) if in_trunk else name, layer)
            if rule is not None:
                used.add(precision.rules.index(rule))
                module.activation_format = quant.get(rule.activation)() if rule.activation else None
                module.weight_format = quant.get(rule.weight)() if rule.weight else None
        precision.check_used(used)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.norm_f.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights, packed ones aside."""
        return self.norm_f.weight.dtype

    @property
    def head_weight(self) -> Tensor:
        """Output head [V, D]; the embedding when tied; a widened copy when packed."""
        head = self.lm_head
        owner = self.embeddings if head is None else head
        if owner.is_packed:
            return owner.packed().widen(self.dtype)
        return self.embeddings.weight if head is None else head.weight_operand(head.weight)

    def moe_layers(self) -> Iterator[MoE]:
        """The MoE mixers in the order of routes and counts: trunk, then MTP."""
        for module in self.modules():
            if isinstance(module, MoE):
                yield module

    def set_memory(self, config: MemoryConfig) -> None:
        """What the training forward recomputes or offloads; none of it changes a result."""
        addresses: set[int] = set()
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            addresses.add(tensor.untyped_storage().data_ptr())
        is_used = bool(config.recompute) or config.offload_activations
        memory = Memory(config, addresses.__contains__) if is_used else None
        for module in self.modules():
            if hasattr(module, "memory"):
                module.memory = memory  # type: ignore[assignment]

    @torch.no_grad()
    def init_weights(self, seed: Seed) -> None:
        """Fill every tensor by the rules of specs/architecture 7.1, each from its own seed."""
        config = self.config
        std = config.initializer_range
        residual = (
            std / math.sqrt(config.num_hidden_layers) if config.rescale_prenorm_residual else std
        )
        tensors = dict(self.named_parameters()) | dict(self.named_buffers())
        for name, spec in config.tensors().items():
            tensor = tensors[name]
            generator = torch.Generator().manual_seed(seed.child("init", name).value)

            def uniform(low: float, high: float) -> Tensor:
                return torch.empty(spec.shape).uniform_(low, high, generator=generator)  # noqa: B023

            if spec.init == "normal":
                value = torch.empty(spec.shape).normal_(0, std, generator=generator)
            elif spec.init == "residual":
                value = torch.empty(spec.shape).normal_(0, residual, generator=generator)
            elif spec.init in ("ones", "zeros"):
                value = torch.full(spec.shape, float(spec.init == "ones"))
            elif spec.init == "a_log":
                value = uniform(1, 16).log()
            elif spec.init == "dt_bias":
                block = self._mamba_of(name)
                low, high = math.log(block.time_step_min), math.log(block.time_step_max)
                dt = uniform(low, high).exp().clamp(min=block.time_step_floor)
                value = dt + torch.log(-torch.expm1(-dt))  # inverse softplus
            else:  # conv_weight, conv_bias: kaiming_uniform(a = sqrt 5) of a depthwise convolution
                bound = 1 / math.sqrt(self._mamba_of(name).conv_kernel)
                value = uniform(-bound, bound)
            tensor.copy_(value)

    def _mamba_of(self, name: str) -> MambaConfig:
        mixer = self.get_submodule(name.partition(".mixer.")[0] + ".mixer")
        assert isinstance(mixer.config, MambaConfig)
        return mixer.config

    def hidden(self, tokens_T: Tensor, ctx: Context, mtp_tokens: Sequence[Tensor] = ()) -> Output:
        """Run the blocks over packed tokens.

        Args:
            tokens_T: Ids of all sequences laid end to end.
            ctx: Packing, state, routes.
            mtp_tokens: For each MTP depth j the token t + j at position t (`mtp.shift_within`).

        Raises:
            InputError: Lengths do not add up, or MTP is asked of a model without it.
        """
        if sum(ctx.lengths) != tokens_T.shape[0]:
            raise InputError(
                "lengths", sum(ctx.lengths), f"must add up to {tokens_T.shape[0]} tokens"
            )
        if ctx.state is not None:
            ctx.state.prepare(ctx.lengths)
        x, delta = self.embeddings(tokens_T), None
        if self.memory is not None:
            self.memory.offload.restart()
        for layer in self.layers:
            x, delta = layer(x, delta, ctx)
        _, hidden = self.norm_f(x, delta)
        mtp: tuple[Tensor, ...] = ()
        if mtp_tokens:
            if self.mtp is None:
                raise InputError("mtp", None, "this model has no multi-token prediction head")
            mtp = self.mtp(hidden, mtp_tokens, self.embeddings, ctx)
        aux = None
        if ctx.collect_aux:
            balance = torch.stack(ctx.balance).sum() if ctx.balance else hidden.new_zeros(())
            aux = Aux(balance, tuple(ctx.counts))
        return Output(hidden, mtp, tuple(ctx.routes), aux)

    def logits(self, hidden_XD: Tensor, out: Tensor | None = None) -> Tensor:
        """Head output in float32 (float64 for a float64 model).

        Args:
            out: float32 room for rows [B, V] of a 16-bit model on a GPU, which keeps the products in
                float32 where no gradient is asked for.
        """
        head = self.lm_head
        x = hidden_XD if head is None else head.input_operand(hidden_XD)
        if x.is_cuda and x.dtype.itemsize == 2 and x.dim() == 2 and not torch.is_grad_enabled():
            return wide_linear(x, self.head_weight, out)
        owner = self.embeddings if head is None else head
        if owner.is_packed:
            logits = packed_linear(x, owner.packed())
        else:
            logits = linear(x, self.head_weight)
        return logits.to(norm.wide(logits.dtype))

    def forward(self, tokens: Tensor, cu_seqlens: Tensor | Sequence[int] | None = None) -> Tensor:
        """Logits of whole sequences.

        Args:
            tokens: int64 [B, T], or packed [T] with the starts of the sequences.
            cu_seqlens: [S + 1] starts and the end; sequences never see each other.

        Returns:
            Logits of the same leading shape, float32 (float64 for a float64 model).
        """
        if tokens.dim() not in (1, 2) or tokens.numel() == 0:
            raise InputError("tokens", tuple(tokens.shape), "pass [B, T] or packed [T], not empty")
        if tokens.dim() == 2:
            if cu_seqlens is not None:
                raise InputError(
                    "cu_seqlens", None, "goes with packed tokens [T]; see nautiloid.pack"
                )
            lengths = [tokens.shape[1]] * tokens.shape[0]
        else:
            starts = [0, tokens.shape[0]] if cu_seqlens is None else [int(s) for s in cu_seqlens]
            lengths = [b - a for a, b in itertools.pairwise(starts)]
            if starts[0] != 0 or starts[-1] != tokens.shape[0] or min(lengths) < 1:
                raise InputError(
                    "cu_seqlens", starts, f"must rise from 0 to the {tokens.shape[0]} tokens"
                )
        highest = int(tokens.max())
        if highest >= self.config.vocab_size or int(tokens.min()) < 0:
            raise InputError("tokens", highest, f"ids must be 0 to {self.config.vocab_size - 1}")
        ctx = Context.packed(lengths, tokens.device)
        hidden = self.hidden(tokens.reshape(-1), ctx).hidden_TD
        return self.logits(hidden).view(*tokens.shape, -1)
