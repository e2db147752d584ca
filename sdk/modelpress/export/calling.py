"""A module as a plain function: tensors in, tensors out, each with a name."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from modelpress.problem import RequestInvalid

torch: Any = import_module("torch")  # the caller's own: no dependency of this package
pytree: Any = import_module("torch.utils._pytree")


class Call:
    """How a module is called. While this lives, the module's `forward` is the plain function that `run` calls.

    Attributes:
        example: the tensors among the example's inputs, in order; everything else stays as it is.
        input_names, output_names: of the tensors, in order.
    """

    def __init__(
        self,
        module: Any,
        example_inputs: Any,
        input_names: Sequence[str] | None,
        output_names: Sequence[str] | None,
    ) -> None:
        self.module = module
        self._forward = module.forward
        self._signature = inspect.signature(module.forward)
        arguments = self._bind(example_inputs)
        with_paths, self._spec = pytree.tree_flatten_with_path(arguments)
        self._leaves = [leaf for _, leaf in with_paths]
        self._places = [place for place, leaf in enumerate(self._leaves) if isinstance(leaf, torch.Tensor)]
        self.example = tuple(self._leaves[place].detach() for place in self._places)
        if not self.example:
            raise RequestInvalid("`example_inputs` hold no tensor; give a tensor, a tuple or a dict by parameter name")
        names = [self._name(with_paths[place][0]) for place in self._places]
        outputs = self._first_run()
        taken = set(module.state_dict())
        self.input_names = _unique(chosen("input_names", input_names, names), taken, "_in")
        self.output_names = _unique(chosen("output_names", output_names, outputs), taken, "_out")
        module.forward = self.plain

    def run(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensors among the outputs."""
        with torch.no_grad():
            return list(self.module(*tensors))

    def plain(self, *tensors: Any) -> tuple[Any, ...]:
        """What `forward` computes, with the tensors alone in and out, in eval mode."""
        self.module.training = False
        try:
            return tuple(tensor for _, tensor in _named(self._call(tensors)))
        finally:
            # In a module in eval mode torch merges equal initialisers, as if they were tied.
            self.module.training = True

    def _bind(self, example_inputs: Any) -> dict[str, Any]:
        keywords = dict(example_inputs) if isinstance(example_inputs, Mapping) else {}
        positional = example_inputs if isinstance(example_inputs, tuple | list) else (example_inputs,)
        try:
            bound = self._signature.bind(*(() if keywords else positional), **keywords)
        except TypeError as error:
            raise RequestInvalid(f"`example_inputs` do not fit forward{self._signature}: {error}") from error
        return dict(bound.arguments)

    def _call(self, tensors: Sequence[Any]) -> Any:
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        bound = inspect.BoundArguments(self._signature, pytree.tree_unflatten(leaves, self._spec))
        return self._forward(*bound.args, **bound.kwargs)

    def _first_run(self) -> list[str]:
        try:
            with torch.no_grad():
                outputs = list(_named(self._call(self.example)))
        except RequestInvalid:
            raise
        except Exception as error:  # forward raises anything
            said = f"{type(error).__name__}: {error}"
            raise RequestInvalid(f"the module can't be called with `example_inputs`: {said[:600]}") from error
        if not outputs:
            raise RequestInvalid("the module gives no tensor")
        return [name for name, _ in outputs]

    def _name(self, path: Sequence[Any]) -> str:
        keys = [str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", "")))) for entry in path]
        gathers = self._signature.parameters[keys[0]].kind is inspect.Parameter.VAR_KEYWORD
        return "_".join(keys[1:] if gathers else keys)


@contextmanager
def plain_module(module: Any) -> Iterator[Any]:
    """The module itself, out of its wrappers and in eval mode, with torch's fast path off; all as before afterwards.

    Raises:
        RequestInvalid: it is none, or holds no values.
    """
    if not isinstance(module, torch.nn.Module):
        raise RequestInvalid(f"expected a path or a torch.nn.Module, not {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise RequestInvalid("a scripted module can't be exported; pass the module that it was made from")
    module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper
    if isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        module = module.module
    if empty := [name for name, tensor in module.state_dict().items() if tensor.is_meta]:
        raise RequestInvalid(
            f"{len(empty)} tensors of the module are on the meta device and hold no values, {empty[0]!r} among them",
            hint="Load the weights first: module.load_state_dict(weights, assign=True).",
        )
    if any(tensor.dtype == torch.bfloat16 for tensor in module.state_dict().values()):
        raise RequestInvalid(
            "onnxruntime computes no bfloat16 on a CPU, so that the file could be neither checked nor measured",
            hint="Pass module.float(), which loses nothing, or module.half().",
        )
    modes, forward = {part: part.training for part in module.modules()}, vars(module).get("forward")
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    try:
        yield module
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        vars(module).pop("forward", None)
        if forward is not None:
            module.forward = forward
        for part, mode in modes.items():
            part.training = mode


def chosen(option: str, names: Sequence[str] | None, found: Sequence[str]) -> Sequence[str]:
    if names is not None and len(names) != len(found):
        raise RequestInvalid(f"`{option}` has {len(names)} names for {len(found)} tensors ({', '.join(found)})")
    return found if names is None else names


def _named(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors in what a module returned, with the names of the keys and fields that lead to them."""
    if isinstance(value, torch.Tensor):
        yield name or "output", value
    elif value is not None:
        for key, part in _parts(value):
            yield from _named(part, f"{name}_{key}" if name else key if isinstance(key, str) else f"output_{key}")


def _parts(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), part) for key, part in value.items())
    elif hasattr(value, "_fields"):
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, tuple | list):
        yield from enumerate(value) if len(value) > 1 else ((("output", value[0]),) if value else ())
    elif dataclasses.is_dataclass(value):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    else:
        raise RequestInvalid(
            f"the module returns a {type(value).__name__}; return tensors, or tuples and dicts of them"
        )


def _unique(names: Sequence[str], taken: set[str], suffix: str) -> list[str]:
    """Names that nothing else in the file has, with a suffix where something has; `taken` learns them."""
    found = []
    for name in names:
        while name in taken:
            name += suffix
        taken.add(name)
        found.append(name)
    return found
