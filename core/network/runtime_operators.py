"""What onnxruntime runs: told to onnx where its checker refuses it, and known where a model says it is something else.

Files that onnxruntime has optimised, and those of its language models, hold normalisations from before the standard
had them. GroupNormalization was deprecated in the opset that brought it, and is run nonetheless. Two operators of the
oldest files came into the standard later.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import onnx
from onnx.defs import OpSchema
from onnxruntime.capi import onnxruntime_pybind11_state as runtime  # pyright: ignore[reportAttributeAccessIssue]  # compiled

FLOATS = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)"]
INT, FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
OPTIONAL = OpSchema.FormalParameterOption.Optional
NORMALISATION = {"axis": INT, "epsilon": FLOAT, "stash_type": INT}


@cache
def tell_onnx() -> None:
    """Make the schemas known to this process, once."""
    onnx.defs.get_schema("GroupNormalization", 18)  # onnx loads its own schemas when it is first asked for one
    statistics = ("Mean", "Deviation")
    onnx.defs.register_schema(_schema("SimplifiedLayerNormalization", 1, (), statistics, NORMALISATION))
    onnx.defs.register_schema(_schema("LayerNormalization", 1, ("bias",), statistics, NORMALISATION))
    onnx.defs.deregister_schema("GroupNormalization", 18, "")
    groups = {"num_groups": INT, "epsilon": FLOAT}
    onnx.defs.register_schema(_schema("GroupNormalization", 18, ("bias",), (), groups))
    onnx.defs.register_schema(_of_one("ThresholdedRelu", {"alpha": FLOAT}))
    whole = {"across_channels": INT, "normalize_variance": INT}
    onnx.defs.register_schema(_of_one("MeanVarianceNormalization", whole))


def _schema(
    name: str, version: int, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, OpSchema.AttrType]
) -> OpSchema:
    """A normalisation of `X`; `inputs` and `outputs` are those beyond the first, and may be left out."""
    formal = OpSchema.FormalParameter
    schema = OpSchema(
        name,
        "",
        version,
        inputs=[formal("X", "T"), formal("scale", "V"), *(formal(key, "V", param_option=OPTIONAL) for key in inputs)],
        outputs=[formal("Y", "V"), *(formal(key, "U", param_option=OPTIONAL) for key in outputs)],
        type_constraints=[(kind, FLOATS, "") for kind in "TUV"],
        attributes=[OpSchema.Attribute(key, kind, "", required=False) for key, kind in attributes.items()],
    )
    schema.set_type_and_shape_inference_function(_same_shape)
    return schema


def _of_one(name: str, attributes: Mapping[str, OpSchema.AttrType]) -> OpSchema:
    """An operator of `X` alone, from before opset 7."""
    schema = OpSchema(
        name,
        "",
        1,
        inputs=[OpSchema.FormalParameter("X", "T")],
        outputs=[OpSchema.FormalParameter("Y", "T")],
        type_constraints=[("T", FLOATS, "")],
        attributes=[OpSchema.Attribute(key, kind, "", required=False) for key, kind in attributes.items()],
    )
    schema.set_type_and_shape_inference_function(_same_shape)
    return schema


def _same_shape(context: onnx.shape_inference.InferenceContext) -> None:
    kind = context.get_input_type(0)
    if kind is not None:
        context.set_output_type(0, kind)


def computed_by_onnxruntime(domain: str, name: str) -> bool:
    """Whether an operator is onnxruntime's own on the CPU, which it computes itself whatever a model says it is."""
    return (domain, name) in _own_kernels()


@cache
def _own_kernels() -> frozenset[tuple[str, str]]:
    return frozenset(
        (kernel.domain, kernel.op_name)
        for kernel in runtime.get_all_opkernel_def()
        if kernel.provider == "CPUExecutionProvider" and kernel.domain
    )
