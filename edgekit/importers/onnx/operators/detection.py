"""What detectors end with: suppression of boxes that overlap better ones."""

from typing import Any

import numpy as np
import tensorflow as tf

from edgekit.importers.onnx.node import Node, Operator
from edgekit.importers.onnx.operators.kernels import int32
from edgekit.importers.onnx.operators.scattering import put
from edgekit.importers.onnx.values import static_shape

# So many suppressions are written out; more are done in a loop.
_MOST_UNROLLED = 4


def non_max_suppression(
    node: Node, boxes: Any, scores: Any, most: Any = None, overlap: Any = None,  # noqa: ANN401
    lowest: Any = None,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """NonMaxSuppression: rows of batch, class and box, as many as are left."""
    sizes = static_shape(scores)
    if None in sizes:
        raise node.error("chooses from a number of boxes that is known at run time only",
                         "fix the inputs' sizes with --input-shape")
    _, classes, count = (int(size or 0) for size in sizes)
    most = _scalar(most, 0)
    if isinstance(most, np.generic) and int(most) <= 0:
        return np.zeros((0, 3), np.int64)
    fixed = min(int(most), count) if isinstance(most, np.generic) else count
    settings = {
        "max_output_size": np.int32(fixed),
        "iou_threshold": _next_float(_scalar(overlap, np.float32(0))),
        "score_threshold": _scalar(lowest, np.finfo(np.float32).min),
    }
    boxes = _corners(boxes) if node.attr("center_point_box", 0) else boxes
    chosen, valid = _all_suppressed(boxes, scores, settings)
    if not isinstance(most, np.generic):
        # The best come first, so a limit that the model computes cuts what is behind.
        valid = tf.minimum(valid, int32(most))
    return _rows(chosen, valid, fixed, classes)


def _scalar(given: Any, default: Any) -> Any:  # noqa: ANN401
    if given is None:
        return np.asarray(default)[()]
    return given.reshape(-1)[0] if isinstance(given, np.ndarray) else tf.reshape(given, [])


def _next_float(threshold: Any) -> Any:  # noqa: ANN401
    """ONNX suppresses what overlaps by more than this; LiteRT by as much, too."""
    smallest = np.finfo(np.float32).tiny
    if isinstance(threshold, np.generic):
        return max(np.nextafter(threshold, np.float32(np.inf)), smallest)
    bits = tf.bitcast(tf.maximum(threshold, smallest), tf.int32)
    return tf.bitcast(bits + 1, tf.float32)


def _corners(boxes: Any) -> Any:  # noqa: ANN401
    """Corners of boxes that are given by centre, width and height."""
    x, y, width, height = tf.split(boxes, 4, -1)
    return tf.concat([y - height * 0.5, x - width * 0.5, y + height * 0.5, x + width * 0.5], -1)


def _suppressed(boxes: Any, scores: Any, settings: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ANN401
    """Boxes that are left, best first, with zeros behind; and how many there are."""
    found = tf.raw_ops.NonMaxSuppressionV4(boxes=boxes, scores=scores, **settings,
                                           pad_to_max_output_size=True)
    return found.selected_indices, found.valid_outputs


def _all_suppressed(boxes: Any, scores: Any, settings: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ANN401
    """The same for every class of every sample, one after the other."""
    batch, classes, count = scores.shape
    if batch * classes > _MOST_UNROLLED:
        return _looped(boxes, tf.reshape(scores, [batch * classes, count]), settings, classes)
    found = [_suppressed(boxes[b], scores[b, c], settings)
             for b in range(batch) for c in range(classes)]
    most = int(settings["max_output_size"])
    return (tf.stack([tf.ensure_shape(one, [most]) for one, _ in found]),
            tf.stack([valid for _, valid in found]))


def _rows(chosen: Any, valid: Any, most: int, classes: int) -> Any:  # noqa: ANN401
    """Batch, class and box of what is left."""
    total = int(chosen.shape[0])
    is_real = np.arange(most, dtype=np.int32) < tf.reshape(valid, [total, 1])
    names = np.stack(np.divmod(np.arange(total, dtype=np.int32), classes), -1)
    names = np.broadcast_to(names[:, None], (total, most, 2))
    rows = tf.concat([names, chosen[..., None]], -1)
    where = tf.reshape(tf.where(tf.reshape(is_real, [-1])), [-1])
    return tf.cast(tf.gather(tf.reshape(rows, [-1, 3]), where), tf.int64)


def _looped(
    boxes: Any, scores: Any, settings: dict[str, Any], classes: int  # noqa: ANN401
) -> tuple[Any, Any]:
    most, total = int(settings["max_output_size"]), int(scores.shape[0])

    def step(i: Any, chosen: Any, valid: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401
        of = boxes[0] if boxes.shape[0] == 1 else tf.gather(boxes, i // classes)
        one, count = _suppressed(of, tf.gather(scores, i), settings)
        one = tf.ensure_shape(one, [most])
        return (i + 1, put(chosen, one[None], tf.stack([i, 0])),
                put(valid, tf.reshape(count, [1]), tf.reshape(i, [1])))

    _, chosen, valid = tf.while_loop(
        lambda i, *_: i < total, step,
        [tf.constant(0), tf.zeros([total, most], tf.int32), tf.zeros([total], tf.int32)])
    return chosen, valid


DETECTION = {"NonMaxSuppression": Operator(non_max_suppression, 11)}
