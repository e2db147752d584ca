"""Each rung on a network that needs exactly it, and where inputs and outputs have their samples."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper

from core.network import Network
from core.network.axes import NEW, likely_axes
from core.network.one_sample import find_one_sample
from core.network.trial import Trial
from core.training.inside import seen
from core.training.statistics import norms_of, reestimate
from modelpress.problem import StepError
from tests.core.network.models import model_of, random, run_onnx

INT64, BOOL = TensorProto.INT64, TensorProto.BOOL


def node(op: str, inputs: str, output: str = "y", **attributes) -> NodeProto:
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def network(nodes: Sequence[NodeProto], inputs, constants=None, outputs=("y",), opset: int = 17, types=None) -> Network:
    return Network.from_proto(model_of(nodes, inputs, outputs, constants, opset, types=types))


def rung(network: Network) -> str:
    """Which one the ladder came to."""
    graph = network.train_graph()
    if graph is network.graph:
        return "as it is"
    found = find_one_sample(graph)
    return "freed" if found is None else "mapped" if found.is_mapped else "looped"


def constant(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


PINNED = {"w": random(4, 3), "rows": constant(8, 3), "back": constant(1, 8, 4)}


def pinned_inside() -> Network:
    """A sample's rows are counted in a reshape that does not begin with the batch."""
    nodes = [node("Reshape", "x rows", "r"), node("MatMul", "r wt", "m"), node("Reshape", "m back", "y")]
    return network(nodes, {"x": [1, 8, 3]}, {**PINNED, "wt": random(3, 4)})


def plain() -> Network:
    return network([node("MatMul", "x w")], {"x": ["n", 3]}, {"w": random(3, 4)})


def freed() -> Network:
    nodes = [node("Reshape", "x flat", "f"), node("MatMul", "f w")]
    return network(nodes, {"x": [1, 2, 3]}, {"flat": constant(1, 6), "w": random(6, 4)})


def determinant() -> Network:
    """A determinant a sample, of a matrix that a reshape without a batch makes."""
    nodes = [
        node("MatMul", "x w", "m"),
        node("Reshape", "m square", "s"),
        node("NonZero", "s", "places"),
        node("Size", "places", "count"),
        node("Cast", "count", "c", to=1),
        node("Add", "s c"),
    ]
    return network(nodes, {"x": [1, 9]}, {"w": random(9, 9), "square": constant(3, 3)})


RUNGS = {"as it is": plain, "freed": freed, "mapped": pinned_inside, "looped": determinant}


@pytest.mark.parametrize("name", RUNGS)
def test_each_rung_has_a_network_that_needs_it(name: str):
    assert rung(RUNGS[name]()) == name


@pytest.mark.parametrize("name", RUNGS)
def test_a_batch_gives_what_onnxruntime_gives_for_its_samples(name: str):
    found = RUNGS[name]()
    shape = found.index.declared(found.index.inputs[0])[1:]
    x = random(5, *shape)
    expected = np.stack([run_onnx(found.source, {"x": x[k : k + 1]})[0] for k in range(5)])
    y = found.train_graph()(torch.from_numpy(x))[0]
    np.testing.assert_allclose(y.detach().numpy().reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1


@pytest.mark.parametrize("name", RUNGS)
def test_no_samples_give_nothing(name: str):
    found = RUNGS[name]()
    shape = found.index.declared(found.index.inputs[0])[1:]
    graph = found.train_graph()
    none, two = graph(torch.zeros(0, *shape))[0], graph(torch.zeros(2, *shape))[0]
    assert none.shape == (0, *two.shape[1:])


@pytest.mark.parametrize("name", RUNGS)
def test_gradients_are_the_sum_over_the_samples(name: str):
    found = RUNGS[name]()
    shape = found.index.declared(found.index.inputs[0])[1:]
    x = torch.from_numpy(random(4, *shape))
    weight = found.layers()[0].weight
    [together] = torch.autograd.grad(found.train_graph()(x)[0].square().sum(), weight)
    alone = [torch.autograd.grad(found.graph(x[k : k + 1])[0].square().sum(), weight)[0] for k in range(4)]
    torch.testing.assert_close(together, sum(alone), rtol=1e-4, atol=1e-4)
    assert together.abs().max() > 0


# where the samples are


def lstm(steps: int | str, batch: int | str) -> Network:
    """Time first, states of (directions, batch, hidden)."""
    nodes = [helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=3)]
    inputs = {"x": [steps, batch, 2], "h": [1, batch, 3], "c": [1, batch, 3]}
    return network(nodes, inputs, {"w": random(1, 12, 2), "r": random(1, 12, 3)}, outputs=("y", "hn", "cn"))


@pytest.mark.parametrize("batch", ["batch", "k", 1])
def test_the_samples_of_recurrent_states_are_found(batch: int | str):
    found = lstm(5, batch)
    x, h, c = (torch.from_numpy(random(4, *shape)) for shape in ((5, 2), (1, 3), (1, 3)))
    y, hn, cn = found.train_graph()(x, h, c)
    assert [tuple(value.shape) for value in (y, hn, cn)] == [(4, 5, 1, 3), (4, 1, 3), (4, 1, 3)]
    for k in range(4):
        alone = {"x": x[k, :, None], "h": h[k, :, None], "c": c[k, :, None]}
        expected = run_onnx(found.source, {name: value.numpy() for name, value in alone.items()})
        np.testing.assert_allclose(y[k].detach().numpy(), expected[0][:, :, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(cn[k].detach().numpy(), expected[2][:, 0], rtol=1e-4, atol=1e-5)


def test_a_scalar_serves_all_samples_and_may_be_given_with_each():
    found = network([node("Mul", "x s")], {"x": ["n", 4], "s": []})
    graph = found.train_graph()
    x = torch.from_numpy(random(3, 4))
    assert torch.equal(graph(x, torch.tensor(2.0))[0], 2 * x)
    assert torch.equal(graph(x, torch.full((3,), 2.0))[0], 2 * x)
    with pytest.raises(StepError, match="one for all"):
        graph(x, torch.tensor([1.0, 2.0, 3.0]))


def test_a_table_serves_all_samples():
    found = network([node("MatMul", "x table")], {"x": [1, 4], "table": [4, 5]})
    x, table = torch.from_numpy(random(3, 4)), torch.from_numpy(random(4, 5))
    torch.testing.assert_close(found.train_graph()(x, table)[0], x @ table)


def test_a_file_of_one_sample_without_an_axis_for_it():
    """An image (channels, height, width), as some cameras give it."""
    nodes = [node("ReduceMean", "x", "m", axes=[1, 2], keepdims=0), node("MatMul", "m w")]
    found = network(nodes, {"x": [3, 4, 5]}, {"w": random(3, 2)})
    x = random(6, 3, 4, 5)
    y = found.train_graph()(torch.from_numpy(x))[0]
    expected = [run_onnx(found.source, {"x": one})[0] for one in x]
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_fixed_batch_of_several_is_filled_up():
    turns = [node("Transpose", "x", "t", perm=[1, 0]), node("Transpose", "r", "y", perm=[1, 0])]
    nodes = [turns[0], node("Reshape", "t shape", "r"), turns[1]]
    found = network(nodes, {"x": [2, 3]}, {"shape": constant(3, 2)})
    x = torch.from_numpy(random(5, 3))
    assert rung(found) == "looped"
    assert torch.equal(found.train_graph()(x)[0], x)


def test_places_in_a_fixed_batch_that_are_not_alike_are_refused():
    found = network([node("Mul", "x s")], {"x": [2, 3]}, {"s": random(2, 1)})
    trial = Trial(found.graph, found.index, (0,), None, found.device)
    assert trial.at_once == 2
    assert trial.holds(found.graph) is None
    assert trial.one_by_one(is_mapped=False) is None


def test_an_output_that_is_the_same_for_all_samples_is_given_with_each():
    nodes = [node("MatMul", "x w"), node("Shape", "x", "s", start=1)]
    found = network(nodes, {"x": ["n", 3]}, {"w": random(3, 4)}, outputs=("y", "s"), types={"s": INT64})
    assert found.train_graph()(torch.zeros(2, 3))[1].tolist() == [[3], [3]]


def test_token_ids_and_masks():
    """Rows that a mask hides altogether would be no numbers; ids beyond the table would crash."""
    nodes = [
        node("Gather", "table ids", "h"),
        node("MatMul", "h query", "q"),
        node("Squeeze", "q last", "scores"),
        node("Where", "mask scores low", "masked"),
        node("Softmax", "masked", "p", axis=-1),
        node("Unsqueeze", "p last", "pp"),
        node("Mul", "h pp", "weighted"),
        node("ReduceSum", "weighted middle", keepdims=0),
    ]
    constants = {
        "table": random(2, 4),
        "query": random(4, 1),
        "last": constant(-1),
        "middle": constant(1),
        "low": np.float32(-np.inf),
    }
    inputs, types = {"ids": [1, "length"], "mask": [1, "length"]}, {"ids": INT64, "mask": BOOL}
    found = network(nodes, inputs, constants, types=types)
    ids, mask = torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.tensor([[True, True, False], [True, False, False]])
    y = found.train_graph()(ids, mask)[0]
    for k in range(2):
        expected = run_onnx(found.source, {"ids": ids[k : k + 1].numpy(), "mask": mask[k : k + 1].numpy()})[0]
        np.testing.assert_allclose(y[k : k + 1].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "shapes, first",
    [
        ([["batch", 3, 8, 8]], (0,)),
        ([["time", "batch", 8]], (1,)),
        ([["time", "N", 8], [2, "N", 4], []], (1, 1, None)),
        ([[1, 3, 8, 8], [100, 4]], (0, None)),
        ([[3, 8, 8]], (0,)),
        ([[1, 5], []], (0, None)),
        ([[3, 8], [4, 8]], (NEW, NEW)),
    ],
)
def test_what_the_declared_shapes_suggest(shapes, first):
    assert likely_axes(shapes)[0] == first


# rungs that don't hold


def test_samples_that_are_mixed_in_pairs_are_no_batch():
    """Pairs of a batch of six are mixed as the one pair of a batch of two is."""
    nodes = [node("Reshape", "x pairs", "p"), node("MatMul", "p w", "m"), node("Reshape", "m rows", "y")]
    constants = {"pairs": constant(-1, 6), "rows": constant(-1, 3), "w": random(6, 6)}
    found = network(nodes, {"x": [2, 3]}, constants)
    trial = Trial(found.graph, found.index, (0,), None, found.device)
    assert trial.pieces is not None
    assert trial.holds(found.graph) is None


def test_a_batch_that_is_mixed_is_no_batch():
    """The sum over the first axis, of one sample the sample itself."""
    nodes = [node("ReduceSum", "x axes", "s", keepdims=1), node("Add", "x s")]
    found = network(nodes, {"x": [1, 4]}, {"axes": constant(0)})
    trial = Trial(found.graph, found.index, (0,), None, found.device)
    assert trial.holds(found.graph) is None
    assert rung(found) == "mapped"  # sample by sample it is what the file says


def test_onnxruntimes_operators_are_not_mapped():
    found = determinant()
    trial = Trial(found.graph, found.index, (0,), None, found.device)
    assert trial.one_by_one(is_mapped=True) is None
    assert trial.one_by_one(is_mapped=False) is not None


def test_statistics_of_single_samples_are_not_taken():
    norm = [f"norm.{name}" for name in ("weight", "bias", "mean", "var")]
    nodes = [
        node("Conv", "x conv.weight", "a"),
        helper.make_node("BatchNormalization", ["a", *norm], ["b"]),
        node("Reshape", "b rows", "r"),
        node("Reshape", "r back", "y"),
    ]
    constants = {"conv.weight": random(4, 3, 1, 1), "rows": constant(4, 25), "back": constant(1, 100)}
    found = network(nodes, {"x": [1, 3, 5, 5]}, constants | {name: random(4) ** 2 for name in norm})
    graph = found.train_graph()
    assert find_one_sample(graph) is not None
    [module] = norms_of(graph)
    before = module.running_mean.clone()
    x = torch.from_numpy(random(6, 3, 5, 5))
    assert reestimate(graph, [(x,)]) == 0
    module.train()
    graph(x)
    assert torch.equal(module.running_mean, before)


def test_what_a_layer_sees_inside_is_seen_for_all_samples():
    given, wanted = seen(pinned_inside().train_graph(), "MatMul_0", [[torch.from_numpy(random(5, 8, 3))]])
    assert (given.shape, wanted.shape) == ((5, 8, 3), (5, 8, 4))


# any small network


STEP = st.sampled_from(["Relu", "linear", "pin", "square", "turn", "softmax", "mean"])


@given(steps=st.lists(STEP, max_size=6), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_a_batch_is_its_samples_put_together(steps: list[str], seed: int):
    found = small(steps, seed)
    x = torch.from_numpy(random(4, 2, 6, seed=seed))
    graph, weight = found.train_graph(), found.layers()[0].weight
    together, alone = graph(x)[0], [found.graph(x[k : k + 1])[0] for k in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    [gradient] = torch.autograd.grad(together.square().sum(), weight, retain_graph=True)
    parts = [torch.autograd.grad(y.square().sum(), weight)[0] for y in alone]
    torch.testing.assert_close(gradient, sum(parts), rtol=1e-3, atol=1e-4)


def small(steps: list[str], seed: int) -> Network:
    """A layer, then some steps on (1, 2, 6) values, of which several pin the batch to 1."""
    nodes, value = [node("MatMul", "x first", "v")], "v"
    constants = {"first": random(6, 6, seed=seed), "rows": constant(2, 6), "back": constant(1, 2, 6)}
    constants |= {"turned": constant(6, 2), "flat": constant(1, 12)}
    for place, step in enumerate(steps):
        out, inner = f"v{place}", f"i{place}"
        constants |= {f"w{place}": random(6, 6, seed=seed + place) / 3}
        nodes += {
            "linear": [node("MatMul", f"{value} w{place}", out)],
            "pin": [node("Reshape", f"{value} rows", inner), node("Reshape", f"{inner} back", out)],
            "square": [node("Reshape", f"{value} flat", inner), node("Reshape", f"{inner} back", out)],
            "turn": [node("Reshape", f"{value} turned", inner), node("Reshape", f"{inner} back", out)],
            "softmax": [node("Softmax", value, out, axis=-1)],
            "mean": [node("ReduceMean", value, inner, axes=[1], keepdims=1), node("Sub", f"{value} {inner}", out)],
        }.get(step, [node(step, value, out)])
        value = out
    return network(nodes, {"x": [1, 2, 6]}, constants, outputs=(value,))
