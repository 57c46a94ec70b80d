import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites import transfers

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", transfers.configs())
@pytest.mark.parametrize("per_expert", [True, False])
def test_round_trip_of_every_family(name, per_expert, tmp_path):
    transfers.check_round_trip(name, tmp_path / "m", device="cuda", per_expert=per_expert)


def test_other_dtypes_round_once(tmp_path):
    transfers.check_round_trip(
        "nemotron_h", tmp_path / "m", device="cuda", dtype="float32", wanted="bfloat16"
    )


def test_small_buffers(tmp_path):
    transfers.check_small_buffers(tmp_path / "m", device="cuda")
