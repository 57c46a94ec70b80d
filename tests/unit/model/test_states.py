import pytest
import torch
from tests.suites.states import check_states


@pytest.mark.parametrize("rotates", [False, True])
def test_every_way_in(rotates):
    check_states("cpu", torch.float32, 1e-4, rotates=rotates)
