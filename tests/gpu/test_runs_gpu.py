import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.gpu_runs import check_runs

pytestmark = pytest.mark.gpu


def test_stop_and_resume(tmp_path):
    check_runs(tmp_path)
