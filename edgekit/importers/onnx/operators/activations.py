"""Activation functions."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.computing import (
    Array,
    broadcast,
    cast,
    constant_scalar,
    is_float,
    order_of,
    unmerged,
    widened,
)
from edgekit.importers.onnx.values import Value, arranged, dtype_of, logical, make, static_shape

_SIXTH = 1.0 / 6.0
_MISH_LIMIT = 20.0  # from here on mish(x) is x


def relu(_node: Node, x: Array) -> Array:
    """Relu, of integers, too."""
    return cast(tf.nn.relu(widened(x)), dtype_of(x))


def leaky_relu(node: Node, x: Array) -> Array:
    """LeakyRelu."""
    return tf.nn.leaky_relu(x, node.attr("alpha", 0.01))


def prelu(node: Node, x: Value, slope: Value) -> Value:
    """PRelu: PRELU where the slopes are constants of floats."""
    x = unmerged(x)
    order = order_of(x)
    slopes = _aligned_slopes(node, x, slope)
    if is_float(x.data) and isinstance(slopes, np.ndarray):
        alpha = constant_scalar(slopes)
        if alpha is not None:
            return make(tf.nn.leaky_relu(x.data, alpha), order)
        return make(broadcast(_prelu_kernel, x.data, slopes.transpose(order)), order)
    data = widened(x.data)
    slopes = widened(arranged(Value(slopes), order))
    result = broadcast(lambda a, b: tf.where(a < np.zeros((), dtype_of(a)), a * b, a), data, slopes)
    return make(cast(result, dtype_of(x.data)), order)


def _prelu_kernel(x: Array, slopes: Array) -> Array:
    """What the converter makes PRELU of; the kernel broadcasts the batch by itself."""
    slopes = slopes[0] if slopes.ndim > 1 and slopes.shape[0] == 1 else slopes
    return tf.nn.relu(x) + (-slopes) * tf.nn.relu(-x)


def _aligned_slopes(node: Node, x: Value, slope: Value) -> Array:
    """With x's rank; before version 7 the slopes were always those of the channels."""
    slopes = logical(slope)
    sizes = [int(size or 0) for size in static_shape(slopes)]
    behind = x.rank - 2 if node.opset < 7 and len(sizes) == 1 and x.rank > 1 else 0
    shape = [1] * (x.rank - len(sizes) - behind) + sizes + [1] * behind
    return slopes.reshape(shape) if isinstance(slopes, np.ndarray) else tf.reshape(slopes, shape)


def _negative_part(x: Array, factor: float) -> Array:
    """For negative x factor * (e^x - 1), 0 elsewhere."""
    return tf.minimum(tf.nn.elu(x), 0.0) * np.float32(factor)


def elu(node: Node, x: Array) -> Array:
    """Elu."""
    alpha = node.attr("alpha", 1.0)
    return tf.nn.elu(x) if alpha == 1.0 else tf.nn.relu(x) + _negative_part(x, alpha)


def selu(node: Node, x: Array) -> Array:
    """Selu; the constants of its first version had fewer digits."""
    old = node.opset < 6
    alpha = node.attr("alpha", 1.6732 if old else 1.67326319217681884765625)
    gamma = node.attr("gamma", 1.0507 if old else 1.05070102214813232421875)
    return tf.nn.relu(x) * np.float32(gamma) + _negative_part(x, alpha * gamma)


def celu(node: Node, x: Array) -> Array:
    """Celu."""
    alpha = node.attr("alpha", 1.0)
    if alpha == 1.0:
        return tf.nn.elu(x)
    if alpha > 0:
        return tf.nn.relu(x) + _negative_part(x / np.float32(alpha), alpha)
    return tf.nn.relu(x) + tf.minimum((tf.exp(x / np.float32(alpha)) - 1.0) * np.float32(alpha),
                                      0.0)


def thresholded_relu(node: Node, x: Array) -> Array:
    """ThresholdedRelu."""
    return tf.where(x > np.float32(node.attr("alpha", 1.0)), x, np.float32(0))


def hard_sigmoid(node: Node, x: Array) -> Array:
    """HardSigmoid."""
    alpha, beta = node.attr("alpha", 0.2), node.attr("beta", 0.5)
    if abs(alpha - _SIXTH) < 1e-7 and beta == 0.5:
        return tf.nn.relu6(x + 3.0) * np.float32(_SIXTH)
    return tf.minimum(tf.nn.relu(x * np.float32(alpha) + np.float32(beta)), 1.0)


def hard_swish(_node: Node, x: Array) -> Array:
    """HardSwish."""
    return x * tf.nn.relu6(x + 3.0) * np.float32(_SIXTH)


def mish(_node: Node, x: Array) -> Array:
    """Mish, x·tanh(log(1 + e^x)), as a quotient: tanh(log(y)) is (y² - 1) / (y² + 1)."""
    e = tf.exp(tf.minimum(x, _MISH_LIMIT))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def softplus(_node: Node, x: Array) -> Array:
    """Softplus, log(1 + e^x), without overflow."""
    return tf.nn.relu(x) - tf.math.log(tf.sigmoid(tf.abs(x)))


def softsign(_node: Node, x: Array) -> Array:
    """Softsign."""
    return x / (1.0 + tf.abs(x))


def gelu(node: Node, x: Array) -> Array:
    """Gelu."""
    return tf.nn.gelu(x, approximate=node.attr("approximate", "none") == "tanh")


def bias_gelu(_node: Node, x: Array, bias: Array) -> Array:
    """Gelu of a sum (onnxruntime)."""
    return tf.nn.gelu(x + bias, approximate=False)


def fast_gelu(_node: Node, x: Array, bias: Array = None) -> Array:
    """An approximation of Gelu, of a sum if there is a bias (onnxruntime)."""
    return tf.nn.gelu(x if bias is None else x + bias, approximate=True)


def swish(node: Node, x: Array) -> Array:
    """Swish: x·sigmoid(alpha·x)."""
    alpha = node.attr("alpha", 1.0)
    return x * tf.sigmoid(x if alpha == 1.0 else x * np.float32(alpha))


def quick_gelu(node: Node, x: Array) -> Array:
    """Swish with another factor: x·sigmoid(1.702·x) (onnxruntime)."""
    return x * tf.sigmoid(x * np.float32(node.attr("alpha", 1.702)))


def shrink(node: Node, x: Array) -> Array:
    """Shrink: towards zero by ``bias`` outside of ±``lambd``, 0 inside."""
    limit, bias = np.float32(node.attr("lambd", 0.5)), np.float32(node.attr("bias", 0.0))
    data = cast(x, np.float32)
    result = tf.where(data > limit, data - bias,
                      tf.where(data < -limit, data + bias, np.float32(0)))
    return cast(result, dtype_of(x))


def _plain(function: Callable[[Array], Array]) -> Callable[[Node, Array], Array]:
    return lambda _node, x: function(x)


ACTIVATIONS: dict[str, Operator] = {
    "Relu": Operator(relu, 14, "elementwise"),
    "LeakyRelu": Operator(leaky_relu, 16, "elementwise"),
    "PRelu": Operator(prelu, 16, "values"),
    "Elu": Operator(elu, 22, "elementwise"),
    "Selu": Operator(selu, 22, "elementwise"),
    "Celu": Operator(celu, 28, "elementwise"),
    "ThresholdedRelu": Operator(thresholded_relu, 22, "elementwise"),
    "HardSigmoid": Operator(hard_sigmoid, 22, "elementwise"),
    "HardSwish": Operator(hard_swish, 22, "elementwise"),
    "Mish": Operator(mish, 22, "elementwise"),
    "Sigmoid": Operator(_plain(tf.sigmoid), 13, "elementwise"),
    "Tanh": Operator(_plain(tf.tanh), 13, "elementwise"),
    "Softplus": Operator(softplus, 22, "elementwise"),
    "Softsign": Operator(softsign, 22, "elementwise"),
    "Gelu": Operator(gelu, 20, "elementwise"),
    "Swish": Operator(swish, 24, "elementwise"),
    "Shrink": Operator(shrink, 9, "elementwise"),
    "com.microsoft:Gelu": Operator(gelu, 1, "elementwise"),
    "com.microsoft:BiasGelu": Operator(bias_gelu, 1, "elementwise"),
    "com.microsoft:FastGelu": Operator(fast_gelu, 1, "elementwise"),
    "com.microsoft:QuickGelu": Operator(quick_gelu, 1, "elementwise"),
}
