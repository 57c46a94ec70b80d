"""The embedding's gradient against index_add in float64."""

import torch

CASES = (
    [0],
    [3, 3, 3, 3],
    [5, 1, 5, 0, 1, 5, 7],
    [2] * 37 + [4] * 16 + [1, 2, 4],
    list(range(8)) * 5,
)


def check(add_rows, device, dtype, width=300):
    """Every case adds to what is there and leaves other rows alone."""
    for tokens in CASES:
        generator = torch.Generator().manual_seed(len(tokens))
        wide = torch.randn(len(tokens), width + 8, generator=generator).to(device, dtype)
        dy = wide[:, 4 : 4 + width]  # a column slice
        out = torch.randn(8, width, generator=generator).to(device)
        ids = torch.tensor(tokens, device=device)
        expected = out.double().index_add(0, ids, dy.double())
        add_rows(dy, ids, out)
        torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
