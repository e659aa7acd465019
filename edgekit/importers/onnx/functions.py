"""Operators that ONNX itself defines in terms of others: their bodies."""

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import defs

from edgekit.importers.onnx.node import Node
from edgekit.importers.onnx.values import Value


def function_body(
    node: Node, *, only_look: bool = False
) -> tuple[onnx.FunctionProto, Mapping[str, int]]:
    """The definition of a node's operator, with the node's attributes put in.

    Args:
        node: The node.
        only_look: Whether it has one; its inputs need not be known.

    Returns:
        A fresh body, and the versions of the operator sets that it is written in.

    Raises:
        EdgekitError: There is none.
    """
    domain = "" if node.proto.domain == "ai.onnx" else node.proto.domain
    try:
        schema: Any = defs.get_schema(node.proto.op_type, node.opset, domain)
    except defs.SchemaError as error:
        raise node.error("is of an operator that edgekit does not know") from error
    if schema.has_function:
        body = _newest(schema.function_opset_versions, node.opset,
                       schema.get_function_with_opset_version)
    elif schema.has_context_dependent_function and only_look:
        return onnx.FunctionProto(), {}
    elif schema.has_context_dependent_function:
        types = [_type_of(value).SerializeToString() for value in node.inputs]
        body = _newest(
            schema.context_dependent_function_opset_versions, node.opset,
            lambda version: schema.get_context_dependent_function_with_opset_version(
                version, node.proto.SerializeToString(), types))
    else:
        raise node.error("is of an operator that edgekit cannot import")
    _put_attributes(body, node, schema)
    opsets = {item.domain or "ai.onnx": int(item.version) for item in body.opset_import}
    return body, {"ai.onnx": node.opset, **opsets}


def _newest(versions: list[int], opset: int, read: Any) -> onnx.FunctionProto:  # noqa: ANN401
    """The newest body that the model's version of the operator set knows."""
    known = [version for version in versions if version <= opset] or [min(versions)]
    body = onnx.FunctionProto()
    body.ParseFromString(read(max(known)))
    return body


def _type_of(value: Value | None) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_type_proto(kind, value.shape)


def _put_attributes(body: onnx.FunctionProto, node: Node, schema: Any) -> None:  # noqa: ANN401
    """Replace references to the operator's attributes by their values, or drop them."""
    given = {item.name: item for item in node.proto.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            given[name] = attribute.default_value
    _replace(body.node, given)


def _replace(nodes: Any, given: Mapping[str, onnx.AttributeProto]) -> None:  # noqa: ANN401
    for inner in nodes:
        kept = []
        for item in inner.attribute:
            if not item.ref_attr_name:
                if item.HasField("g"):
                    _replace(item.g.node, given)
                kept.append(item)
            elif item.ref_attr_name in given:
                copy = onnx.AttributeProto()
                copy.CopyFrom(given[item.ref_attr_name])
                copy.name = item.name
                kept.append(copy)
        del inner.attribute[:]
        inner.attribute.extend(kept)
