"""The kernel that starts a decoding step, in Triton's interpreter where there is no GPU."""

import pytest
import torch

pytest.importorskip("triton")

from nautiloid.ops.batch import begin, cuda

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def ints(*values):
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize("run", [begin, cuda.begin], ids=["torch", "triton"])
def test_tokens_come_from_the_host_or_from_the_slot_and_pages_are_noted(run):
    newest = ints(10, 11, 12, 13)
    table = torch.zeros(4, 5, dtype=torch.int32)
    words = {
        "token": ints(-1, 7, -1, 0),
        "slot": ints(2, 0, 1, 3),
        "past": ints(9, 1, 4, 1),
        "column": ints(-1, 2, 0, -1),
        "page": ints(99, 41, 42, 99),
    }
    if DEVICE == "cuda":
        newest, table = newest.cuda(), table.cuda()
        words = {name: values.cuda() for name, values in words.items()}
    tokens = torch.full((4,), -5, device=DEVICE)
    positions = torch.full((4,), -5, device=DEVICE)
    run(*words.values(), newest, table, tokens, positions)
    assert tokens.tolist() == [12, 7, 11, 0]
    assert positions.tolist() == [9, 1, 4, 1]
    wanted = torch.zeros(4, 5, dtype=torch.int32)
    wanted[0, 2], wanted[1, 0] = 41, 42
    assert torch.equal(table.cpu(), wanted)
