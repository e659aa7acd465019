"""Finds what exporters have taken apart, and puts it together again: one operator, one kernel.

An exporter of an older operator set writes GELU, layer normalization, hard-swish or Mish as five
to nine operators. The runtime has kernels for them as a whole, and the converter only recognises
TensorFlow's own way of writing them.
"""

import onnx

from edgekit.importers.onnx.fusing_patterns import PATTERNS
from edgekit.importers.onnx.fusing_view import Constants, View, constants_of, subgraphs


def fuse(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace decompositions by single operators, in the model that is given.

    The new nodes are of ONNX's own set whatever version the model imports: they are keys of the
    importer's table, and the result is not meant for another runtime. Nodes that nothing depends
    on are gone.
    """
    _fuse_graph(model.graph, {})
    return model


def _fuse_graph(graph: onnx.GraphProto, outer: Constants) -> None:
    constants = constants_of(graph, outer)
    for node in graph.node:
        for inner in subgraphs(node):
            _fuse_graph(inner, constants)
    view = View(graph, constants)
    # From behind, so that a product is looked at as a whole before its parts are.
    for place in reversed(range(len(view.nodes))):
        node = view.nodes[place]
        if node is None:
            continue
        for pattern in PATTERNS:
            match = pattern(view, node)
            if match is not None and view.is_closed(match):
                view.replace(match)
                break
    view.write()
