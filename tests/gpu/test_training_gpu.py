import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.gpu_steps import CHECKS

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", CHECKS)
def test_whole_steps(name):
    CHECKS[name]()
