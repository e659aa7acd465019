"""How exporters take operators apart."""

import math
from collections.abc import Callable, Sequence

import onnx
from onnx import helper

from edgekit.importers.onnx.fusing_view import Match, Product, View, kind_of

# Exporters round constants to float16.
_CLOSE = 1e-3
_ROOT_HALF = 1 / math.sqrt(2)
_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715

# The operator, its attributes, and the nodes that it replaces beside those of the product.
_Found = tuple[str, dict[str, object], tuple[onnx.NodeProto, ...]]
_Look = Callable[[View, Product, str, str], _Found | None]


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_CLOSE)


def _named(root: onnx.NodeProto, kind: str, inputs: Sequence[str], **attributes: object
           ) -> onnx.NodeProto:  # fmt: skip
    return helper.make_node(kind, inputs, list(root.output[:1]), name=root.name, **attributes)


def _gate(view: View, root: onnx.NodeProto) -> tuple[Product, str, str] | None:
    """A product of a value and one more: x * f(x) in any order and association."""
    if kind_of(root) not in ("Mul", "Div"):
        return None
    found = view.product(root.output[0])
    if len(found.leaves) != 2 or found.leaves[0] == found.leaves[1]:
        return None
    # x is what the other one is made from; both ways are tried by the caller.
    return found, found.leaves[0], found.leaves[1]


def _gated(view: View, root: onnx.NodeProto, look: _Look) -> Match | None:
    found = _gate(view, root)
    if found is None:
        return None
    product, one, other = found
    for x, gate in ((one, other), (other, one)):
        made = look(view, product, x, gate)
        if made is not None:
            kind, attributes, nodes = made
            return Match(_in_order(nodes + product.nodes), _named(root, kind, [x], **attributes))
    return None


def _in_order(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Each once; the root, which comes last, stays last."""
    return list({id(node): node for node in nodes}.values())


def _gelu(view: View, product: Product, x: str, gate: str) -> _Found | None:
    """X / 2 * (1 + erf(x / sqrt 2)), or tanh(sqrt(2 / pi) * (x + 0.044715 x³))."""
    total = view.made_by(gate, "Add")
    inside = total and view.with_number(total)
    if total is None or not inside or inside[1] != 1.0 or not _near(product.number, 0.5):
        return None
    curve = view.made_by(inside[0], "Erf", "Tanh")
    if curve is None:
        return None
    argument = view.product(curve.input[0])
    nodes = (*argument.nodes, curve, total)
    if curve.op_type == "Erf":
        fits = argument.leaves == (x,) and _near(argument.number, _ROOT_HALF)
        return ("Gelu", {"approximate": "none"}, nodes) if fits else None
    cubic = _cubic(view, argument, x)
    return None if cubic is None else ("Gelu", {"approximate": "tanh"}, cubic + nodes)


def _cubic(view: View, argument: Product, x: str) -> tuple[onnx.NodeProto, ...] | None:
    """The nodes of x + 0.044715 x³, or of x (1 + 0.044715 x²), if that is what it is."""
    rest = list(argument.leaves)
    powers = 3
    if x in rest:
        rest.remove(x)
        powers = 2
    total = view.made_by(rest[0], "Add") if len(rest) == 1 else None
    if total is None or not _near(argument.number, _TANH_SCALE):
        return None
    for one, other in (total.input, total.input[::-1]):
        first = one == x if powers == 3 else view.number(one) == 1.0
        term = view.product(other)
        if first and term.leaves == (x,) * powers and _near(term.number, _TANH_CUBIC):
            return (*term.nodes, total)
    return None


def _hard_swish(view: View, product: Product, x: str, gate: str) -> _Found | None:
    """X * clip(x + 3, 0, 6) / 6, or x * HardSigmoid(x)."""
    bent = view.made_by(gate, "Clip", "HardSigmoid")
    if bent is None:
        return None
    given = {item.name: helper.get_attribute_value(item) for item in bent.attribute}
    if bent.op_type == "HardSigmoid":
        fits = (bent.input[0] == x and _near(product.number, 1.0)
                and _near(given.get("alpha", 0.2), 1 / 6) and _near(given.get("beta", 0.5), 0.5))
        return ("HardSwish", {}, (bent,)) if fits else None
    limits = [view.number(name) for name in bent.input[1:]] or [given.get("min"), given.get("max")]
    total = view.made_by(bent.input[0], "Add")
    inside = total and view.with_number(total)
    if total is None or inside != (x, 3.0) or limits != [0.0, 6.0]:
        return None
    return ("HardSwish", {}, (total, bent)) if _near(product.number, 1 / 6) else None


def _mish(view: View, product: Product, x: str, gate: str) -> _Found | None:
    """X * tanh(softplus(x))."""
    curve = view.made_by(gate, "Tanh")
    soft = curve and view.made_by(curve.input[0], "Softplus")
    if curve is None or soft is None or soft.input[0] != x or product.number != 1.0:
        return None
    return "Mish", {}, (soft, curve)


def _layer_normalization(view: View, root: onnx.NodeProto) -> Match | None:
    """(x - mean) / sqrt(mean of its square + epsilon) * scale + bias."""
    shift, scaling = None, root
    if kind_of(root) == "Add":
        sides = [(view.made_by(name, "Mul"), other)
                 for name, other in (root.input, root.input[::-1])]
        found = next(((node, other) for node, other in sides
                      if node is not None and view.array(other) is not None), None)
        if found is None:
            return None
        scaling, shift = found
    if kind_of(scaling) != "Mul":
        return None
    for name, scale in (scaling.input, scaling.input[::-1]):
        inner = _normalized(view, name) if view.array(scale) is not None else None
        if inner is None:
            continue
        x, axes, epsilon, nodes = inner
        count = len(axes)
        if not all(_covers(view, each, count) for each in (scale, shift) if each is not None):
            continue
        own = [scaling, root] if root is not scaling else [root]
        new = _named(root, "LayerNormalization", [x, scale, *([shift] if shift else [])],
                     axis=-count, epsilon=epsilon)
        return Match(_in_order([*nodes, *own]), new)
    return None


def _covers(view: View, name: str, count: int) -> bool:
    """Whether a constant has exactly the normalized axes."""
    found = view.array(name)
    return found is not None and found.ndim == count and 1 not in found.shape


def _normalized(
    view: View, name: str
) -> tuple[str, Sequence[int], float, list[onnx.NodeProto]] | None:
    node = view.made_by(name, "Div", "Mul")
    if node is None:
        return None
    pairs = [tuple(node.input)] if node.op_type == "Div" else [
        tuple(node.input), tuple(node.input[::-1])]
    for centred_name, spread in pairs:
        inverted = None if node.op_type == "Div" else view.made_by(spread, "Reciprocal", "Div")
        if node.op_type == "Mul" and (inverted is None or (
                inverted.op_type == "Div" and view.number(inverted.input[0]) != 1.0)):
            continue
        root_name = spread if inverted is None else inverted.input[-1]
        found = _spread(view, root_name, centred_name)
        if found is not None:
            x, axes, epsilon, nodes = found
            return x, axes, epsilon, [*nodes, *([inverted] if inverted else []), node]
    return None


def _spread(
    view: View, name: str, centred_name: str
) -> tuple[str, Sequence[int], float, list[onnx.NodeProto]] | None:
    """sqrt(mean(centred²) + epsilon), with centred = x - mean(x)."""
    root = view.made_by(name, "Sqrt")
    total = root and view.made_by(root.input[0], "Add")
    inside = total and view.with_number(total)
    variance = inside and view.made_by(inside[0], "ReduceMean")
    centred = view.made_by(centred_name, "Sub")
    mean = centred and view.made_by(centred.input[1], "ReduceMean")
    if not (root and total and inside and variance and centred and mean):
        return None
    x = centred.input[0]
    square = view.product(variance.input[0])
    axes = _last_axes(view, mean, x)
    if (mean.input[0] != x or square.leaves != (centred_name, centred_name)
            or square.number != 1.0 or axes is None or axes != _last_axes(view, variance, x)):
        return None
    return x, axes, inside[1], [mean, centred, *square.nodes, variance, total, root]


def _last_axes(view: View, node: onnx.NodeProto, x: str) -> list[int] | None:
    """The axes of a mean, counted from behind, if they are the last ones and are kept."""
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    axes = given.get("axes")
    if axes is None and len(node.input) > 1:
        constant = view.array(node.input[1])
        axes = None if constant is None else constant.reshape(-1).tolist()
    if not axes or not given.get("keepdims", 1):
        return None
    rank = view.rank(x)
    if rank is None and any(axis >= 0 for axis in axes):
        return None
    last = sorted(int(axis) - (rank or 0) if axis >= 0 else int(axis) for axis in axes)
    return last if last == list(range(-len(last), 0)) else None


PATTERNS: tuple[Callable[[View, onnx.NodeProto], Match | None], ...] = (
    lambda view, root: _gated(view, root, _gelu),
    lambda view, root: _gated(view, root, _hard_swish),
    lambda view, root: _gated(view, root, _mish),
    _layer_normalization,
)
