"""Packed and cached attention through torch's fused kernel.

Sequences of like length are padded on the right and run as one batch: under a causal mask no real
query sees a padded key.

Suffixes: T tokens, S sequences, Q query heads, V key/value heads, H head width, L keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nautiloid.ops.attention import reference
from nautiloid.ops.rows import collect, spread


def _batches(lengths: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Groups of sequences whose padded work stays below twice the real one: (length, members)."""
    order = sorted(range(len(lengths)), key=lambda s: lengths[s], reverse=True)
    groups: list[tuple[int, list[int]]] = []
    for s in order:
        if groups and lengths[s] * 4 >= groups[-1][0] * 3:
            groups[-1][1].append(s)
        else:
            groups.append((lengths[s], [s]))
    return groups


def _layout(lengths: Sequence[int]) -> tuple[list[tuple[int, list[int]]], Tensor, Tensor]:
    """Groups, the packed row of each padded row, and the padded row of each packed row.

    A padded position repeats the last token of its sequence.
    """
    groups = _batches(lengths)
    ends = torch.tensor(list(lengths)).cumsum(0)
    index = torch.empty(int(ends[-1]), dtype=torch.long)
    sources: list[Tensor] = []
    total = 0
    for longest, members in groups:
        sizes = torch.tensor([lengths[s] for s in members])
        starts = ends[members] - sizes
        at = torch.arange(longest)
        source = starts[:, None] + torch.minimum(at, sizes[:, None] - 1)
        is_real = at < sizes[:, None]
        rows = total + torch.arange(source.numel()).view(source.shape)
        index[source[is_real]] = rows[is_real]
        sources.append(source.flatten())
        total += source.numel()
    return groups, torch.cat(sources), index


def _run(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Causal batch [S, L, heads, H]."""
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        is_causal=True,
        scale=scale,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return out.transpose(1, 2)


def attention(
    q_TQH: Tensor,
    k_TVH: Tensor,
    v_TVH: Tensor,
    lengths: Sequence[int],
    *,
    scale: float,
    is_causal: bool = True,
    window: int | None = None,
    sinks_Q: Tensor | None = None,
) -> Tensor:
    """Same contract as `reference.attention`; options beyond plain causal run by the reference.

    >>> q = torch.zeros(2, 1, 1)
    >>> attention(q, q, torch.tensor([[[2.0]], [[4.0]]]), [1, 1], scale=1.0).flatten().tolist()
    [2.0, 4.0]
    """
    if not is_causal or window is not None or sinks_Q is not None:
        return reference.attention(
            q_TQH,
            k_TVH,
            v_TVH,
            lengths,
            scale=scale,
            is_causal=is_causal,
            window=window,
            sinks_Q=sinks_Q,
        )
    if len(set(lengths)) == 1:
        shape = (len(lengths), lengths[0])
        q, k, v = (x.unflatten(0, shape) for x in (q_TQH, k_TVH, v_TVH))
        return _run(q, k, v, scale).flatten(0, 1)
    groups, source, index = _layout(lengths)
    source, index = source.to(q_TQH.device), index.to(q_TQH.device)
    q, k, v = (spread(x, source, index) for x in (q_TQH, k_TVH, v_TVH))
    outputs: list[Tensor] = []
    start = 0
    for longest, members in groups:
        rows = slice(start, start + longest * len(members))
        shape = (len(members), longest)
        part = _run(*(x[rows].unflatten(0, shape) for x in (q, k, v)), scale)
        outputs.append(part.flatten(0, 1))
        start = rows.stop
    return collect(torch.cat(outputs), index)


def decode(
    q_SQH: Tensor, k_SLVH: Tensor, v_SLVH: Tensor, lengths_S: Tensor | None, *, scale: float
) -> Tensor:
    """One query a sequence against its gathered keys.

    Args:
        q_SQH: Queries.
        k_SLVH: Keys, padded to the longest sequence.
        v_SLVH: Values.
        lengths_S: Valid keys of each sequence; None when all L are.
        scale: Factor on the scores.

    Returns:
        SQH.

    >>> kv = torch.tensor([[[[2.0]], [[4.0]]]])
    >>> decode(torch.zeros(1, 1, 1), kv, kv, None, scale=1.0).item()
    3.0
    """
    S, Q, H = q_SQH.shape
    heads = k_SLVH.shape[2]
    # the query heads of one key head form its query rows: keys are read once, not Q / V times
    q = q_SQH.view(S, heads, Q // heads, H)
    mask = None
    if lengths_S is not None:
        at = torch.arange(k_SLVH.shape[1], device=q.device)
        mask = (at < lengths_S[:, None])[:, None, None]
    k, v = k_SLVH.transpose(1, 2), v_SLVH.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).reshape(S, Q, H)


def extend(q_TQH: Tensor, k_LVH: Tensor, v_LVH: Tensor, *, scale: float) -> Tensor:
    """T new queries of one sequence that already has L - T keys cached.

    >>> kv = torch.tensor([[[2.0]], [[4.0]]])
    >>> extend(torch.zeros(1, 1, 1), kv, kv, scale=1.0).item()
    3.0
    """
    T, L = q_TQH.shape[0], k_LVH.shape[0]
    at = torch.arange(L - T, L, device=q_TQH.device)[:, None]
    mask = torch.arange(L, device=q_TQH.device)[None] <= at
    q, k, v = (x.transpose(0, 1)[None] for x in (q_TQH, k_LVH, v_LVH))
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out[0].transpose(0, 1)
