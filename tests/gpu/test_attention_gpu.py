import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from tests.suites.attention import check_attention, check_column_slices

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("lengths", [[300], [128, 128], [1, 200, 37, 129]])
def test_packed(lengths):
    check_attention(lengths, torch.bfloat16)


def test_float32():
    check_attention([50, 13], torch.float32)


@pytest.mark.parametrize(
    "options",
    [{"window": 16}, {"is_causal": False}, {"is_causal": False, "window": 16}],
    ids=str,
)
def test_masks(options):
    check_attention([70, 150, 9], torch.bfloat16, **options)


def test_column_slices():
    check_column_slices(torch.bfloat16, torch.device("cuda"))


def test_sinks():
    sinks = torch.randn(4, device="cuda", dtype=torch.float64)
    check_attention([70, 9], torch.bfloat16, sinks_Q=sinks)


def test_the_host_does_not_wait():
    lengths = [100, 28]
    q = torch.randn(128, 4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    kv = torch.randn(128, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    from nautiloid.ops.attention.cuda import attention

    attention(q, kv, kv, lengths, scale=0.1).sum().backward()
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        attention(q, kv, kv, lengths, scale=0.1).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode(before)
