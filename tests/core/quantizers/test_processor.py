import pytest

from core.quantizers.processor import saturates


@pytest.mark.parametrize(
    "machine, flags, expected",
    [
        ("x86_64", "sse avx2 fma", True),
        ("AMD64", "", True),
        ("x86_64", "avx2 avx512f avx512_vnni", False),
        ("x86_64", "avx2 avx_vnni", False),
        ("aarch64", "asimd asimddp", False),
        ("arm64", "", False),
    ],
)
def test_pairs_of_products_overflow_on_x86_without_vnni_only(machine, flags, expected):
    assert saturates(machine, flags) is expected


def test_this_machine_gives_an_answer():
    assert isinstance(saturates(), bool)
