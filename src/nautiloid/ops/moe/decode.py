"""Router and experts for few tokens on a GPU: no gradients, sizes that the number of tokens decides.

Suffixes: T tokens, D hidden size, K experts a token, E experts, L expert input width, M expert width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nautiloid.ops.launch import blocks, launch, power_of_2
from nautiloid.ops.linear.cuda import rows_a_warp
from nautiloid.ops.moe import kernels_choose as choosing
from nautiloid.ops.moe import kernels_decode as kernels
from nautiloid.ops.moe import kernels_single as one
from nautiloid.ops.moe.reference import Activation, Routing, Score, Weights
from nautiloid.ops.tuning import tuned


def _dense(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous()


def _precision(x: Tensor) -> str:
    return "ieee" if x.dtype == torch.float32 else "tf32"


class Blocks(NamedTuple):
    """Assignments in blocks of one expert.

    Args:
        experts: int32 [blocks], -1 where unused.
        rows: int32 [blocks, BT] numbers t K + k, -1 in the padding.
        most: Blocks that the worst case needs.
        size: BT.
    """

    experts: Tensor
    rows: Tensor
    most: int
    size: int


def block_size(tokens: int, top_k: int, experts: int) -> int:
    """Assignments a block, so that few experts need a second one.

    >>> block_size(1, 6, 128), block_size(256, 6, 128), block_size(512, 6, 128)
    (16, 32, 64)
    """
    mean = tokens * top_k / experts
    return 16 if mean <= 7 else 32 if mean <= 18 else 64


def arrange(experts_TK: Tensor, experts: int) -> Blocks:
    """Blocks of the assignments, by expert."""
    tokens, top_k = experts_TK.shape
    assigned = tokens * top_k
    size = block_size(tokens, top_k, experts)
    most = min(experts, assigned) + assigned // size
    # one pass where it can be: each pass waits for its loads
    block = min(2048, power_of_2(assigned))
    integers = {"dtype": torch.int32, "device": experts_TK.device}
    found = Blocks(torch.empty(most, **integers), torch.empty(most, size, **integers), most, size)
    launch(
        kernels.layout_kernel,
        (experts,),
        experts_TK,
        found.experts,
        found.rows,
        assigned,
        experts,
        most,
        EP=power_of_2(experts),
        BT=size,
        BLOCK=block,
        num_warps=8 if block > 512 else 4,
        is_chained=True,
    )
    return found


def route(
    x_TD: Tensor,
    weight_ED: Tensor,
    bias_E: Tensor | None,
    top_k: int,
    *,
    n_group: int = 1,
    topk_group: int = 1,
    norm_topk_prob: bool = True,
    scaling: float = 1.0,
    score: Score = "sigmoid",
    replay_TK: Tensor | None = None,
) -> Routing:
    """`reference.route` of the router's logits; operands as stored, products summed in float32."""
    tokens, inner = x_TD.shape
    experts = weight_ED.shape[0]
    x_TD, weight_ED = _dense(x_TD), weight_ED.contiguous()
    meta = tuned("moe_decode_logits", BE=16, BK=512, num_warps=4)
    splits, rows = blocks(inner, meta["BK"]), 16 if tokens <= 16 else 32
    floats = {"dtype": torch.float32, "device": x_TD.device}
    parts = torch.empty(splits, tokens, experts, **floats)
    launch(
        choosing.logits_kernel,
        (blocks(experts, meta["BE"]), splits, blocks(tokens, rows)),
        x_TD,
        weight_ED,
        parts,
        tokens,
        x_TD.stride(0),
        D=inner,
        E=experts,
        BT=rows,
        PRECISION=_precision(x_TD),
        is_chained=True,
        **meta,
    )
    scores = torch.empty(tokens, experts, **floats)
    weights = torch.empty(tokens, top_k, **floats)
    chosen = torch.empty(tokens, top_k, dtype=torch.int64, device=x_TD.device)
    launch(
        choosing.choose_kernel,
        (tokens,),
        parts,
        parts if bias_E is None else bias_E,
        chosen if replay_TK is None else replay_TK.contiguous(),
        scores,
        chosen,
        weights,
        tokens,
        scaling,
        E=experts,
        K=top_k,
        KP=power_of_2(top_k),
        EP=power_of_2(experts),
        SPLITS=splits,
        IS_SIGMOID=score == "sigmoid",
        HAS_BIAS=bias_E is not None,
        HAS_REPLAY=replay_TK is not None,
        IS_NORMED=norm_topk_prob,
        GROUPS=n_group,
        KEPT=topk_group,
        PER=experts // n_group,
        GP=power_of_2(n_group),
        num_warps=1,
        is_chained=True,
    )
    return Routing(chosen, weights, scores)


def experts(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    up_EML: Tensor,
    down_ELM: Tensor,
    gate_EML: Tensor | None = None,
    activation: Activation = "relu2",
    shared: Weights | None = None,
) -> Tensor:
    """`reference.experts`, plus the shared expert; reads the weights of touched experts alone.

    Args:
        x_TL: Input of every expert.
        experts_TK: Chosen experts.
        weights_TK: Their weights.
        up_EML: Weights of the routed experts, as are `down_ELM` and `gate_EML`.
        down_ELM: See `up_EML`.
        gate_EML: See `up_EML`; None for experts without a gate.
        activation: Of all experts.
        shared: up [n M, L], down [L, n M] and gate like up of the shared expert, for a whole n.
    """
    x_TL = _dense(x_TL)
    experts_TK, weights_TK = experts_TK.contiguous(), weights_TK.contiguous()
    routed = up_EML, down_ELM, gate_EML
    if x_TL.shape[0] == 1:
        return _single(x_TL, experts_TK, weights_TK, routed, shared, activation)
    return _several(x_TL, experts_TK, weights_TK, routed, shared, activation)


def _parts(routed: Weights, shared: Weights | None) -> int:
    """How many routed experts the shared one makes."""
    if shared is None:
        return 0
    width = routed[0].shape[1]
    assert shared[0].shape[0] % width == 0
    return shared[0].shape[0] // width


def _single(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    routed: Weights,
    shared: Weights | None,
    activation: Activation,
) -> Tensor:
    """One token: matrix times vector."""
    up, down, gate = routed
    always_up, always_down, always_gate = shared or routed
    top_k, (width, inner), parts = experts_TK.shape[1], up.shape[1:], _parts(routed, shared)
    act = x_TL.new_empty(parts + top_k, width)
    size = 4 * rows_a_warp(inner, 1 if gate is None else 2)
    meta = tuned("moe_single_up", BM=size, BK=256, num_warps=4)
    common = {"K": top_k, "L": inner, "M": width, "SHARED": parts, "is_chained": True}
    launch(
        one.single_up_kernel,
        (act.shape[0] * blocks(width, meta["BM"]),),
        x_TL,
        up,
        up if gate is None else gate,
        always_up,
        always_up if always_gate is None else always_gate,
        weights_TK,
        experts_TK,
        act,
        IS_RELU2=activation == "relu2",
        HAS_GATE=gate is not None,
        **common,
        **meta,
    )
    out = torch.empty_like(x_TL)
    together = power_of_2(top_k + parts)
    warps = 8 if together <= 16 else 16
    size = max(1, warps * rows_a_warp(width) // together)
    meta = tuned("moe_single_down", BM=size, BK=256, num_warps=warps)
    launch(
        one.single_down_kernel,
        (blocks(inner, meta["BM"]),),
        act,
        down,
        always_down,
        experts_TK,
        out,
        PARTS=together,
        **common,
        **meta,
    )
    return out


def _several(
    x_TL: Tensor,
    experts_TK: Tensor,
    weights_TK: Tensor,
    routed: Weights,
    shared: Weights | None,
    activation: Activation,
) -> Tensor:
    """A few rows an expert: a layout, and tiles of the weights as the wide operand."""
    up_EML, down_ELM, gate_EML = routed
    always_up, always_down, always_gate = shared or routed
    count, width, inner = up_EML.shape
    tokens, top_k = experts_TK.shape
    parts = _parts(routed, shared)
    found = arrange(experts_TK, count)
    rows = tokens * (top_k + parts)
    act = x_TL.new_empty(rows, width)
    whole = found.most + parts * blocks(tokens, found.size)
    common = {
        "K": top_k,
        "L": inner,
        "M": width,
        "BT": found.size,
        "SHARED": parts,
        "PRECISION": _precision(x_TL),
        "is_chained": True,
    }
    meta = tuned("moe_decode_up", BM=64, BK=128, num_warps=4, num_stages=4)
    launch(
        kernels.up_kernel,
        (whole * blocks(width, meta["BM"]),),
        x_TL,
        up_EML,
        up_EML if gate_EML is None else gate_EML,
        always_up,
        always_up if always_gate is None else always_gate,
        weights_TK,
        found.experts,
        found.rows,
        act,
        tokens,
        x_TL.stride(0),
        IS_RELU2=activation == "relu2",
        HAS_GATE=gate_EML is not None,
        **common,
        **meta,
    )
    y = x_TL.new_empty(rows, inner)
    meta = tuned("moe_decode_down", BM=64, BK=64, num_warps=4, num_stages=6)
    launch(
        kernels.down_kernel,
        (whole * blocks(inner, meta["BM"]),),
        act,
        down_ELM,
        always_down,
        found.experts,
        found.rows,
        y,
        tokens,
        **common,
        **meta,
    )
    out = x_TL.new_empty(tokens, inner)
    launch(
        kernels.combine_kernel,
        (tokens, blocks(inner, 1024)),
        y,
        out,
        tokens,
        K=top_k,
        L=inner,
        SHARED=parts,
        BLOCK=1024,
        num_warps=4,
        is_chained=True,
    )
    return out
