"""State-space scan in chunks: matrix products inside a chunk, one carry between chunks.

Specs/architecture 3.2; Mamba-2 (arXiv 2405.21060) section 6. The backward is written out, since
two identities make it cheap: the row and column sums of the decay gradient are `dy . (y - D x)` and
`u . du`, so the [chunk, chunk] gradient of the decay matrix is never formed. A token's effect on
itself does not decay and would only cancel between the two sums, at a cost of digits when decay is
fast; it is therefore kept out of them, as a coefficient of x beside D.

Suffixes: n chunks of all sequences, c chunk length, H heads, P head width, G groups, R heads a
group, N state size, S sequences. u = dt x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Layout:
    """How packed tokens map to chunks that never cross a sequence.

    Args:
        lengths: Tokens of each sequence.
        chunk: Chunk length.
    """

    def __init__(self, lengths: Sequence[int], chunk: int, device: torch.device):
        self.chunk = chunk
        self.num_tokens = sum(lengths)
        self.per_sequence = [-(-n // chunk) for n in lengths]
        self.num_chunks = sum(self.per_sequence)
        self.firsts: list[int] = []
        total = 0
        for n in self.per_sequence:
            self.firsts.append(total)
            total += n
        self.is_view = all(n % chunk == 0 for n in lengths)
        self.is_uniform = len(set(self.per_sequence)) == 1
        self.index: Tensor | None = None
        self.source: Tensor | None = None
        if not self.is_view:
            counts = torch.tensor(list(lengths))
            before = counts.cumsum(0) - counts
            chunks = torch.tensor(self.per_sequence)
            sequence = torch.arange(len(self.per_sequence)).repeat_interleave(chunks * chunk)
            position = torch.arange(self.num_chunks * chunk)
            position -= (torch.tensor(self.firsts) * chunk)[sequence]
            is_real = position < counts[sequence]
            # padding repeats the sequence's own last token: a NaN elsewhere cannot reach it
            source = before[sequence] + torch.minimum(position, counts[sequence] - 1)
            self.source = source.to(device)
            self.index = is_real.nonzero().flatten().to(device)
            self.padding = (~is_real).nonzero().flatten().to(device)
        # rank z: the z-th chunk of every sequence that has one
        most = max(self.per_sequence)
        self.ranks: list[tuple[Tensor, Tensor]] = []
        if not self.is_uniform:
            for z in range(most):
                members = [s for s, n in enumerate(self.per_sequence) if n > z]
                chunks = [self.firsts[s] + z for s in members]
                self.ranks.append(
                    (torch.tensor(members, device=device), torch.tensor(chunks, device=device))
                )
        self.most = most

    def split(self, x: Tensor, *, is_zeroed: bool = False) -> Tensor:
        """[T, ...] to [n, c, ...]; padding repeats the last token, or is zero where asked.

        A zero dt alone makes padding inert: it leaves the state untouched and adds nothing.
        """
        shape = (self.num_chunks, self.chunk, *x.shape[1:])
        if self.source is None:
            return x.reshape(shape)
        padded = x.index_select(0, self.source)
        if is_zeroed:
            padded[self.padding] = 0
        return padded.view(shape)

    def join(self, x: Tensor) -> Tensor:
        """[n, c, ...] back to [T, ...]."""
        flat = x.reshape(self.num_chunks * self.chunk, *x.shape[2:])
        return flat if self.index is None else flat.index_select(0, self.index)


def _carry_forward(layout: Layout, states: Tensor, decay: Tensor, initial: Tensor | None) -> Tensor:
    """States before each chunk [n, H, P, N] and, appended, the final ones [S, H, P, N]."""
    sequences = len(layout.per_sequence)
    n = layout.num_chunks
    before = states.new_empty(n + sequences, *states.shape[1:])
    zero = initial is None
    carry = (
        states.new_zeros(sequences, *states.shape[1:]) if zero else initial.to(states.dtype).clone()
    )
    if layout.is_uniform:
        by_sequence = states.view(sequences, layout.most, *states.shape[1:])
        decays = decay.view(sequences, layout.most, -1, 1, 1)
        out = before[:n].view(sequences, layout.most, *states.shape[1:])
        for z in range(layout.most):
            out[:, z] = carry
            torch.addcmul(by_sequence[:, z], carry, decays[:, z], out=carry)
    else:
        for members, chunks in layout.ranks:
            current = carry[members]
            before[chunks] = current
            carry[members] = states[chunks] + current * decay[chunks][:, :, None, None]
    before[n:] = carry
    return before


def _carry_backward(
    layout: Layout, d_before: Tensor, decay: Tensor, d_final: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the state after each chunk [n, H, P, N] and of the initial states."""
    sequences = len(layout.per_sequence)
    d_after = torch.empty_like(d_before)
    carry = d_final.clone()
    if layout.is_uniform:
        local = d_before.view(sequences, layout.most, *d_before.shape[1:])
        decays = decay.view(sequences, layout.most, -1, 1, 1)
        out = d_after.view(sequences, layout.most, *d_before.shape[1:])
        for z in reversed(range(layout.most)):
            out[:, z] = carry
            torch.addcmul(local[:, z], carry, decays[:, z], out=carry)
    else:
        for members, chunks in reversed(layout.ranks):
            current = carry[members]
            d_after[chunks] = current
            carry[members] = d_before[chunks] + current * decay[chunks][:, :, None, None]
    return d_after, carry


def _own(CB: Tensor, heads: int) -> Tensor:
    """C_t . B_t of each token for every head of its group, [n, c, H]."""
    return CB.diagonal(dim1=-2, dim2=-1).transpose(1, 2).repeat_interleave(heads, -1)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        initial: Tensor | None,
        layout: Layout,
    ) -> tuple[Tensor, Tensor]:
        x, B, C = (layout.split(v) for v in (x, B, C))
        dt = layout.split(dt, is_zeroed=True)
        n, c, H, P = x.shape
        G, N = B.shape[2:]
        RP = H // G * P
        acs = torch.cumsum(dt * A, dim=1)  # [n, c, H]
        acs_Hc = acs.transpose(1, 2).contiguous()
        L = acs_Hc[..., :, None] - acs_Hc[..., None, :]
        future = torch.ones(c, c, dtype=torch.bool, device=x.device).triu_()
        L.masked_fill_(future, -torch.inf).exp_()
        CB = torch.stack([torch.bmm(C[:, :, g], B[:, :, g].transpose(1, 2)) for g in range(G)], 1)
        M = (L.view(n, G, H // G, c, c) * CB[:, :, None]).view(n * H, c, c)
        u = x * dt[..., None]
        u_H = u.transpose(1, 2).reshape(n * H, c, P)
        y = torch.bmm(M, u_H).view(n, H, c, P).transpose(1, 2).contiguous()  # [n, c, H, P]
        w = torch.exp(acs[:, -1:] - acs)
        uw = (u * w[..., None]).view(n, c, H * P)
        states = x.new_empty(n, H * P, N)
        for g in range(G):
            cols = slice(g * RP, (g + 1) * RP)
            states[:, cols] = torch.bmm(uw[:, :, cols].transpose(1, 2), B[:, :, g])
        decay = torch.exp(acs[:, -1])
        before = _carry_forward(layout, states.view(n, H, P, N), decay, initial)
        carry = before[:n].view(n, H * P, N)
        e = torch.exp(acs)
        for g in range(G):
            cols = slice(g * RP, (g + 1) * RP)
            off = torch.bmm(C[:, :, g], carry[:, cols].transpose(1, 2)).view(n, c, H // G, P)
            heads = slice(g * H // G, (g + 1) * H // G)
            y[:, :, heads].addcmul_(off, e[:, :, heads, None])
        ctx.layout = layout
        ctx.has_initial = initial is not None
        own = _own(CB, H // G)
        ctx.save_for_backward(x, dt, A, B, C, D, acs, L, M, u_H, before, y, own)
        out = torch.addcmul(y, x, (D + dt * own)[..., None])
        return layout.join(out), before[n:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, d_final: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, dt, A, B, C, D, acs, L, M, u_H, before, y, own = ctx.saved_tensors
        layout: Layout = ctx.layout
        n, c, H, P = x.shape
        G, N = B.shape[2:]
        R, RP = H // G, H // G * P
        dy = layout.split(dy.contiguous(), is_zeroed=True)
        dy_x = (dy * x).sum(-1)  # [n, c, H]
        u = x * dt[..., None]
        dy_H = dy.transpose(1, 2).reshape(n * H, c, P)
        du = torch.bmm(M.transpose(1, 2), dy_H).view(n, H, c, P).transpose(1, 2).contiguous()
        dM = torch.bmm(dy_H, u_H.transpose(1, 2)).view(n, H, c, c)
        dCB = dM.mul_(L).view(n, G, R, c, c).sum(2)
        d_own = (dy_x * dt).view(n, c, G, R).sum(-1).transpose(1, 2)
        dCB.diagonal(dim1=-2, dim2=-1).add_(d_own)

        carry = before[:n].view(n, H * P, N)
        edy = (dy * torch.exp(acs)[..., None]).view(n, c, H * P)
        d_before = x.new_empty(n, H * P, N)
        dC, dB = torch.empty_like(C), torch.empty_like(B)
        for g in range(G):
            cols = slice(g * RP, (g + 1) * RP)
            dC[:, :, g] = torch.baddbmm(
                torch.bmm(edy[:, :, cols], carry[:, cols]), dCB[:, g], B[:, :, g]
            )
            d_before[:, cols] = torch.bmm(edy[:, :, cols].transpose(1, 2), C[:, :, g])
        decay = torch.exp(acs[:, -1])
        d_after, d_initial = _carry_backward(layout, d_before.view(n, H, P, N), decay, d_final)
        d_state = d_after.view(n, H * P, N)
        w = torch.exp(acs[:, -1:] - acs)
        uw = (u * w[..., None]).view(n, c, H * P)
        du_state = torch.empty_like(uw)
        for g in range(G):
            cols = slice(g * RP, (g + 1) * RP)
            dB[:, :, g] = torch.baddbmm(
                torch.bmm(uw[:, :, cols], d_state[:, cols]), dCB[:, g].transpose(1, 2), C[:, :, g]
            )
            du_state[:, :, cols] = torch.bmm(B[:, :, g], d_state[:, cols].transpose(1, 2))
        du_state = du_state.view(n, c, H, P).mul_(w[..., None])
        # decay gradients: rows dy.(y without own effect and skip), columns u.du within the chunk;
        # what flows into the next chunk passes all later decays of this one
        within = (dy * y).addcmul_(u, du, value=-1).sum(-1)
        onward = (u * du_state).sum(-1)
        through = decay * (carry * d_state).view(n, H, -1).sum(-1)
        da = within.flip(1).cumsum(1).flip(1) + onward.cumsum(1) - onward + through[:, None]
        du += du_state
        d_dt = da * A + (du * x).sum(-1) + dy_x * own
        dA = (da * dt).sum((0, 1))
        dx = torch.addcmul(du * dt[..., None], dy, (D + dt * own)[..., None])
        join = layout.join
        return (
            join(dx),
            join(d_dt),
            dA,
            join(dB),
            join(dC),
            dy_x.sum((0, 1)),
            d_initial if ctx.has_initial else None,
            None,
        )


def ssd(
    x_THP: Tensor,
    dt_TH: Tensor,
    A_H: Tensor,
    B_TGN: Tensor,
    C_TGN: Tensor,
    D_H: Tensor,
    lengths: Sequence[int],
    initial_SHPN: Tensor | None = None,
    *,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """Same contract as `reference.ssd`, in chunks of `chunk` tokens.

    >>> one = torch.ones(2, 1, 1)
    >>> y, h = ssd(one, torch.ones(2, 1), torch.tensor([-1.0]), one, one, torch.zeros(1), [2])
    >>> [round(v, 4) for v in y.flatten().tolist()]
    [1.0, 1.3679]
    """
    longest = max(lengths)
    if longest < chunk:
        chunk = max(16, -(-longest // 16) * 16)
    layout = Layout(lengths, chunk, x_THP.device)
    return _Scan.apply(x_THP, dt_TH, A_H, B_TGN, C_TGN, D_H, initial_SHPN, layout)


def ssd_step(
    state_SHPN: Tensor,
    x_SHP: Tensor,
    dt_SH: Tensor,
    A_H: Tensor,
    B_SGN: Tensor,
    C_SGN: Tensor,
    D_H: Tensor,
) -> Tensor:
    """One token of each sequence; `state_SHPN` (float32 or float64) is updated in place.

    Returns:
        y_SHP in the dtype of x.

    >>> h = torch.zeros(1, 1, 1, 1)
    >>> one = torch.ones(1, 1, 1)
    >>> ssd_step(h, one, torch.ones(1, 1), torch.tensor([-1.0]), one, one, torch.zeros(1)).item()
    1.0
    """
    S, H, P, N = state_SHPN.shape
    G = B_SGN.shape[1]
    u = (x_SHP * dt_SH[..., None]).view(S * G, H // G * P, 1)
    flat = state_SHPN.view(S * G, H // G * P, N)
    state_SHPN.mul_(torch.exp(dt_SH * A_H)[..., None, None])
    flat.baddbmm_(u, B_SGN.reshape(S * G, 1, N))
    y = torch.bmm(flat, C_SGN.reshape(S * G, N, 1)).view(S, H, P)
    return y.addcmul_(x_SHP, D_H[:, None])
