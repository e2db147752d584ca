"""Sparse tensors of a file, which are dense here as they are in onnxruntime."""

import torch
from onnx import ModelProto, SparseTensorProto
from torch import Tensor

from core.network.limits import check_allocation
from core.network.tensors import stored_tensor, to_torch
from core.network.unsupported import Unsupported
from modelpress.problem import ModelError


def dense(sparse: SparseTensorProto) -> Tensor:
    """The indices are places in the flat tensor, or (values, axes).

    Raises:
        ModelTooLarge: it would be larger than any value may be.
    """
    values, indices = to_torch(sparse.values), to_torch(sparse.indices)
    check_allocation(sparse.dims, values.element_size())
    made = torch.zeros(list(sparse.dims), dtype=values.dtype)
    places = (indices,) if indices.dim() == 1 else tuple(indices.T)
    (made.view(-1) if indices.dim() == 1 else made)[places] = values
    return made


def densified(model: ModelProto) -> ModelProto:
    """The model with dense initialisers in place of sparse ones; itself where it has none.

    Raises:
        ModelError: one is of a type that torch has not. ModelTooLarge
    """
    if not model.graph.sparse_initializer:
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.sparse_initializer[:]
    for sparse in model.graph.sparse_initializer:
        name, kind = sparse.values.name, sparse.values.data_type
        try:
            copy.graph.initializer.append(stored_tensor(name, dense(sparse), kind))
        except Unsupported as reason:
            raise ModelError(f"the sparse initialiser {name!r} has the {reason}, which is not handled") from reason
    return copy
