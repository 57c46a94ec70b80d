import pytest
import torch

from nautiloid.train.balance import expert_load, max_vio, update_bias, update_biases


@pytest.mark.parametrize(
    ("bias", "counts", "expected"),
    [
        ([0.0, 0.0, 0.0, 0.0], [4, 3, 1, 0], [-0.001, -0.001, 0.001, 0.001]),
        ([-0.3, 0.0, 0.0, 0.1], [3, 3, 1, 1], [-0.301, -0.001, 0.001, 0.101]),
    ],
)
def test_worked_check_of_the_bias_update(bias, counts, expected):
    bias_E = torch.tensor(bias)
    update_bias(bias_E, torch.tensor(counts), 1e-3)
    torch.testing.assert_close(bias_E, torch.tensor(expected), atol=1e-7, rtol=0)


def test_worked_check_of_counts_and_balance_loss():
    """specs/architecture 6: E 4, k 2, T 4; both rows of the table, from logits to the bias after."""
    logits = torch.tensor(
        [[2, 1, 0, -1], [1.5, 0.5, 0, -1], [1, 2, -1, 0], [3, 0, 1, -2]], dtype=torch.float64
    )
    p = logits.sigmoid()
    p = p / (p.sum(-1, keepdim=True) + 1e-20)
    for bias, biased_counts in (([0, 0, 0, 0], [4, 3, 1, 0]), ([-0.3, 0, 0, 0.1], [3, 3, 1, 1])):
        biased = (logits.sigmoid() + torch.tensor(bias, dtype=torch.float64)).topk(2, -1).indices
        unbiased = logits.sigmoid().topk(2, -1).indices
        assert torch.bincount(biased.flatten(), minlength=4).tolist() == biased_counts
        count_E = torch.bincount(unbiased.flatten(), minlength=4).double()
        loss = 1e-4 * 4 / (2 * 4**2) * (p.sum(0) * count_E).sum()
        assert loss.item() == pytest.approx(1.2797188689e-4, rel=1e-9)


def test_layers_without_bias_are_left_alone():
    bias_E = torch.zeros(2)
    update_biases([bias_E, None], [torch.tensor([3, 1]), torch.tensor([1, 3])], 0.5)
    assert bias_E.tolist() == [-0.5, 0.5]


def test_measures():
    assert max_vio(torch.tensor([2, 2, 2, 2])) == 1.0
    assert max_vio(torch.tensor([8, 0, 0, 0])) == 4.0
    assert max_vio(torch.zeros(4, dtype=torch.int64)) == 0.0
    assert expert_load(torch.tensor([3, 1])) == [0.75, 0.25]
