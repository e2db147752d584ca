"""Recurrent layers: onnxruntime's results and torch's gradients, written, saved, cut and reparametrised."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from core.formulas import AffineInt8, Codebook, Formula, Masked, formula_of
from core.network import Network
from core.network.ops.recurrent import Recurrent
from core.network.ops.recurrent_activations import KINDS
from tests.core.network.agreement import Arrays, assert_agrees, assert_all_close, in_torch, native
from tests.core.network.backend_cases import all_cases
from tests.core.network.models import model_of, run_onnx

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
TORCH = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
FUSED: dict[str, dict[str, Any]] = {"GRU": {"linear_before_reset": 1}}
"""What torch's own kernels compute, where that is not the default."""

TIME, BATCH, INPUTS, HIDDEN = 5, 3, 4, 6


def recurrent(
    kind: str,
    *,
    direction: str = "forward",
    bias: bool = True,
    lengths: list[int] | None = None,
    starts: bool = False,
    peepholes: bool = False,
    used: tuple[int, ...] = (0, 1, 2),
    dtype: type = np.float32,
    **attributes: Any,
) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """One recurrent node. `starts` gives the first state at run time and, to an LSTM, the cell's as a constant."""
    directions, rows = (2 if direction == "bidirectional" else 1), GATES[kind] * HIDDEN
    draw = np.random.default_rng(7)

    def drawn(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.7).astype(dtype)

    constants = {"W": drawn(directions, rows, INPUTS), "R": drawn(directions, rows, HIDDEN)}
    optional = {"B": drawn(directions, 2 * rows), "L": np.array(lengths or [], np.int32)}
    optional |= {"c0": drawn(directions, BATCH, HIDDEN), "P": drawn(directions, 3 * HIDDEN)}
    inputs = {"x": drawn(TIME, BATCH, INPUTS), **({"h0": drawn(directions, BATCH, HIDDEN)} if starts else {})}
    given_names = {"B": bias, "L": lengths is not None, "c0": starts and kind == "LSTM", "P": peepholes}
    constants |= {name: value for name, value in optional.items() if given_names[name]}
    known = {*constants, *inputs}
    wanted = ["x", "W", "R", "B", "L", "h0", *(["c0", "P"] if kind == "LSTM" else [])]
    names = ["y", "h", "c"][: 1 + STATES[kind]]
    used = tuple(place for place in used if place < len(names)) or (0,)
    node = helper.make_node(
        kind,
        [name if name in known else "" for name in wanted],
        [name if place in used else "" for place, name in enumerate(names)],
        name="cell",
        hidden_size=HIDDEN,
        direction=direction,
        **attributes,
    )
    outputs = [names[place] for place in used]
    float_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shapes: dict[str, list[int | str]] = {name: list(value.shape) for name, value in inputs.items()}
    return model_of([node], shapes, outputs, constants, types=dict.fromkeys([*inputs, *outputs], float_type)), inputs


def layer_of(network: Network) -> Recurrent:
    (layer,) = network.layers()
    assert isinstance(layer.module, Recurrent)
    return layer.module


@st.composite
def layers(draw: st.DrawFn) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Any layer that onnxruntime runs."""
    kind = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = FUNCTIONS[kind] * (2 if direction == "bidirectional" else 1)
    attributes: dict[str, Any] = {}
    if draw(st.booleans()):
        attributes["activations"] = [draw(activations(kind, place % FUNCTIONS[kind])) for place in range(count)]
        numbers = st.lists(st.sampled_from([0.1, 0.3, 0.5]), min_size=1, max_size=count)
        if draw(st.booleans()):
            attributes |= {"activation_alpha": draw(numbers), "activation_beta": draw(numbers)}
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.2, 0.8, 3.0]))
    if kind == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if kind == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    return recurrent(
        kind,
        direction=direction,
        bias=draw(st.booleans()),
        lengths=draw(st.none() | st.lists(st.integers(0, TIME), min_size=BATCH, max_size=BATCH)),
        starts=draw(st.booleans()),
        peepholes=kind == "LSTM" and draw(st.booleans()),
        used=tuple(sorted(draw(st.sets(st.integers(0, 2), min_size=1)))),
        **attributes,
    )


def activations(kind: str, place: int) -> st.SearchStrategy[str]:
    """Bounded ones for gates, lest the states overflow; onnxruntime's RNN is alone in minding the letter case."""
    if kind == "RNN":
        return st.sampled_from(sorted(KINDS))
    gates = ["HardSigmoid", "ScaledTanh", "Sigmoid", "Softsign", "tanh"]
    return st.sampled_from(gates if place == 0 else [*sorted(KINDS), "RELU"])


@settings(max_examples=120, deadline=None, derandomize=True)
@given(layers())
def test_any_layer_is_onnxruntimes(case: tuple[ModelProto, dict[str, np.ndarray]]):
    model, inputs = case
    assert_agrees(model, inputs, 2e-5)


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("kind", GATES)
def test_the_standards_own_cases(kind: str, layout: int):
    """Weights come as inputs there; onnxruntime has no layout 1, so that the expected outputs are the standard's."""
    names = {"RNN": ("test_rnn", "test_simple_rnn")}.get(kind, (f"test_{kind.lower()}",))
    cases = [case for case in all_cases() if case.name.startswith(names)]
    cases = [case for case in cases if ("batchwise" in case.name) == bool(layout)]
    assert cases
    for case in cases:
        (arrays, expected), model = case.data[0], ModelProto()
        model.CopyFrom(case.model)
        found = dict(zip([value.name for value in model.graph.input], arrays, strict=True))
        del model.graph.input[1:]
        model.graph.initializer.extend(numpy_helper.from_array(found[name], name) for name in [*found][1:])
        assert_all_close(in_torch(native(model), {"X": found["X"]}), list(expected), 1e-5)


@pytest.mark.parametrize("kind", GATES)
def test_layout_is_the_same_with_the_batch_first(kind: str):
    plain, inputs = recurrent(kind, direction="bidirectional", starts=True, lengths=[5, 2, 3])
    network = native(plain)
    module = layer_of(network)
    x, h, lengths = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["h0"]), torch.tensor([5, 2, 3])
    starts = [h, h.flip(0)][: module.states]
    y, *last = module(x, lengths, *starts)
    module.options = type(module.options)(**{**vars(module.options), "layout": 1})
    turned, *states = module(x.transpose(0, 1), lengths, *(start.transpose(0, 1) for start in starts))
    assert torch.equal(turned, y.permute(2, 0, 1, 3))
    assert all(torch.equal(state, one.transpose(0, 1)) for state, one in zip(states, last, strict=True))
    (node,) = network.to_proto().graph.node
    assert {one.name: helper.get_attribute_value(one) for one in node.attribute}["layout"] == 1


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", GATES)
def test_parameters_and_gradients_are_torchs(kind: str, direction: str):
    model, inputs = recurrent(kind, direction=direction, **FUSED.get(kind, {}))
    network = native(model)
    module, x = layer_of(network), torch.from_numpy(inputs["x"])
    reference = TORCH[kind](INPUTS, HIDDEN, bidirectional=direction == "bidirectional")
    reference.load_state_dict(module.state_dict())
    network({"x": x})["y"].square().sum().backward()
    reference(x)[0].square().sum().backward()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(module.tensor(name).grad, parameter.grad, msg=name)


@pytest.mark.parametrize("kind", GATES)
def test_the_loop_is_the_fused_kernel(kind: str):
    """Lengths that are all of the time change nothing but which code computes it."""
    model, inputs = recurrent(kind, direction="bidirectional", **FUSED.get(kind, {}))
    module, x = layer_of(native(model)), torch.from_numpy(inputs["x"])
    for found, expected in zip(module(x, torch.full((BATCH,), TIME)), module(x), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", GATES)
def test_gradients_of_the_loop_are_finite_differences(kind: str):
    model, inputs = recurrent(kind, direction="reverse", lengths=[5, 0, 3], clip=2.0, peepholes=kind == "LSTM")
    module = layer_of(native(model)).double()
    x, lengths = torch.from_numpy(inputs["x"]).double().requires_grad_(), torch.tensor([5, 0, 3])
    names = [name for name, _ in module.named_parameters()]

    def computed(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return torch.func.functional_call(module, dict(zip(names, tensors, strict=True)), (x, lengths))

    assert torch.autograd.gradcheck(computed, (x, *module.parameters()), fast_mode=True)


def test_a_state_of_one_sample_starts_all():
    model, inputs = recurrent("GRU", starts=True)
    module, x, h = layer_of(native(model)), torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["h0"])
    for found, expected in zip(module(x, None, h[:, :1]), module(x, None, h[:, :1].repeat(1, BATCH, 1)), strict=True):
        assert torch.equal(found, expected)


def test_no_sample_and_no_step_give_empty_outputs():
    module = layer_of(native(recurrent("LSTM")[0]))
    assert [list(one.shape) for one in module(torch.zeros(TIME, 0, INPUTS))] == [[5, 1, 0, 6], [1, 0, 6], [1, 0, 6]]
    assert [list(one.shape) for one in module(torch.zeros(0, BATCH, INPUTS))] == [[0, 1, 3, 6], [1, 3, 6], [1, 3, 6]]


def train(network: Network, inputs: Arrays) -> None:
    """One step on all outputs."""
    optimizer = torch.optim.SGD(network.graph.parameters(), 0.05)
    optimizer.zero_grad()
    outputs = network({name: torch.from_numpy(value) for name, value in inputs.items()}).values()
    sum((output.square().sum() for output in outputs), torch.zeros(())).backward()
    optimizer.step()


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 2)])
@pytest.mark.parametrize("kind", GATES)
def test_trained_layers_are_written_and_saved(kind: str, used: tuple[int, ...], tmp_path: Path):
    model, inputs = recurrent(
        kind, direction="bidirectional", starts=True, peepholes=kind == "LSTM", used=used, lengths=[5, 2, 3], clip=1.5
    )
    network = native(model)
    before = in_torch(network, inputs)
    train(network, inputs)
    expected = in_torch(network, inputs)
    assert not np.allclose(expected[0], before[0], atol=1e-3)
    written = network.to_proto()
    onnx.checker.check_model(written)
    (node,) = written.graph.node
    assert list(node.output) == list(model.graph.node[0].output)
    assert list(node.input) == list(model.graph.node[0].input)
    assert_all_close(run_onnx(written, inputs), expected)
    network.save(tmp_path)
    again = Network.load(tmp_path)
    assert_all_close(in_torch(again, inputs), expected, 0)
    train(network, inputs)
    train(again, inputs)
    assert_all_close(in_torch(again, inputs), in_torch(network, inputs), 0)


def test_sixteen_bits_stay_so_and_what_was_learned_between_them_is_saved(tmp_path: Path):
    model, inputs = recurrent("LSTM", dtype=np.float16, direction="bidirectional")
    network = native(model)
    train(network, inputs)
    written = network.to_proto()
    assert {tensor.data_type for tensor in written.graph.initializer} == {TensorProto.FLOAT16}
    network.save(tmp_path)
    assert_all_close(in_torch(Network.load(tmp_path), inputs), in_torch(network, inputs), 0)


FORMULAS = {
    "codebook": lambda shape: Codebook(3),
    "masked": lambda shape: Masked(torch.rand(shape) > 0.6),
    "int8": lambda shape: AffineInt8(axis=0),
    "masked codebook": lambda shape: Masked(torch.rand(shape) > 0.6, Codebook(3)),
}


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("kind", GATES)
def test_every_matrix_takes_a_formula(kind: str, name: str, direction: str, tmp_path: Path):
    torch.manual_seed(0)
    model, inputs = recurrent(kind, direction=direction)
    network = native(model)
    (layer,) = network.layers()
    for matrix in layer.matrices():
        formula: Formula = FORMULAS[name](matrix.weight.shape)
        matrix.reparametrise(formula)
        assert matrix.formula is formula
    expected = in_torch(network, inputs)
    assert_all_close(run_onnx(network.to_proto(), inputs), expected)
    assert_all_close(run_onnx(network.export(dense=True).proto(), inputs), expected)
    train(network, inputs)
    network.save(tmp_path)
    again = Network.load(tmp_path)
    assert_all_close(in_torch(again, inputs), in_torch(network, inputs), 0)
    assert all(matrix.formula is not None for matrix in again.layers()[0].matrices())


def test_a_formula_on_one_matrix_leaves_the_others():
    model, inputs = recurrent("GRU", direction="bidirectional")
    network = native(model)
    views = network.layers()[0].matrices()
    assert [view.name for view in views] == ["cell/input", "cell/hidden", "cell/input_reverse", "cell/hidden_reverse"]
    views[3].reparametrise(Codebook(2))
    assert [formula_of(view.module, view.tensor) is not None for view in views] == [False, False, False, True]
    assert_all_close(run_onnx(network.to_proto(), inputs), in_torch(network, inputs))


def tied_model() -> ModelProto:
    """Two layers of the same matrices, one after the other."""
    draw = np.random.default_rng(0)
    first = helper.make_node("GRU", ["x", "W", "R"], ["a"], hidden_size=4)
    middle = helper.make_node("Squeeze", ["a", "axis"], ["b"])
    second = helper.make_node("GRU", ["b", "W", "R"], ["y"], hidden_size=4)
    constants = {"W": draw.standard_normal((1, 12, 4)), "R": draw.standard_normal((1, 12, 4))}
    held = {name: value.astype(np.float32) for name, value in constants.items()} | {"axis": np.array([1])}
    return model_of([first, middle, second], {"x": [3, 2, 4]}, constants=held)


@pytest.mark.parametrize("formula", [None, Codebook(2)])
def test_tied_layers_stay_tied(formula: Formula | None, tmp_path: Path):
    network = native(tied_model())
    inputs = {"x": np.random.default_rng(1).standard_normal((3, 2, 4)).astype(np.float32)}
    one, other = (layer.matrices()[0] for layer in network.layers())
    assert one.weight is other.weight
    if formula is not None:
        one.reparametrise(formula)
        assert other.formula is formula
    train(network, inputs)
    written = network.to_proto()
    first, second = (node for node in written.graph.node if node.op_type == "GRU")
    assert first.input[1:3] == second.input[1:3]
    assert_all_close(run_onnx(written, inputs), in_torch(network, inputs))
    network.save(tmp_path)
    assert_all_close(in_torch(Network.load(tmp_path), inputs), in_torch(network, inputs), 0)


@pytest.mark.parametrize("kind", GATES)
def test_sizes_are_read_from_the_tensors(kind: str):
    """Hidden units taken out of the tensors alone are out of the file."""
    model, inputs = recurrent(kind, peepholes=kind == "LSTM", used=(0,))
    network = native(model)
    module, keep = layer_of(network), torch.tensor([0, 2, 5])
    for name, parameter in list(module.named_parameters()):
        kept = parameter.detach().unflatten(0, (-1, HIDDEN))[:, keep].flatten(0, 1)
        module._parameters[name] = nn.Parameter(kept[:, keep] if "weight_hh" in name else kept)
    assert (module.hidden_size, network.layers()[0].out_channels) == (3, 3)
    written = network.to_proto()
    assert helper.get_attribute_value(written.graph.node[0].attribute[0]) == 3
    del written.graph.output[0].type.tensor_type.shape.dim[3]
    assert_all_close(run_onnx(written, inputs), in_torch(network, inputs))


def test_a_copy_has_tensors_of_its_own_and_can_take_the_place():
    model, inputs = recurrent("LSTM", direction="bidirectional")
    network = native(model)
    twin = network.copy()
    train(twin, inputs)
    assert not np.allclose(in_torch(twin, inputs)[0], in_torch(network, inputs)[0])
    network.become(twin)
    assert_all_close(in_torch(network, inputs), in_torch(twin, inputs), 0)


def broken(change: str) -> ModelProto:
    """A file whose node contradicts its tensors."""
    model, _ = recurrent("LSTM")
    node, tensors = model.graph.node[0], {tensor.name: tensor for tensor in model.graph.initializer}
    if change == "hidden_size":
        next(one for one in node.attribute if one.name == "hidden_size").i = 99
    elif change == "activation":
        node.attribute.append(helper.make_attribute("activations", ["Sigmoid", "Sine", "Tanh"]))
    elif change == "count":
        node.attribute.append(helper.make_attribute("activations", ["Sigmoid"]))
    else:
        tensors["B"].CopyFrom(numpy_helper.from_array(np.zeros((1, 5), np.float32), "B"))
    return model


@pytest.mark.parametrize("change", ["hidden_size", "activation", "count", "bias"])
def test_a_node_that_contradicts_itself_is_left_to_onnxruntime(change: str):
    network = Network.from_proto(broken(change))
    assert not network.layers()
    assert any("LSTM" in note for note in network.notes)
