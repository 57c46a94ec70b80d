import pytest
from tests.suites.blocks import check_block


@pytest.mark.parametrize("pattern", ["M", "*", "-", "E", "L", "M*", "ME*-", "MEM*L-", "*E*L"])
def test_block_suite(pattern):
    check_block(pattern)
