import pytest

from core.techniques.registry import find
from modelpress import steps


@pytest.mark.parametrize("step", [s for s in steps.ALL if s.model_fields["technique"].default != "recover"])
def test_every_step_of_the_contract_has_a_technique(step):
    assert callable(find(step))
    assert find(step()) is find(step)
