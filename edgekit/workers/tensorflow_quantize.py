"""Runs in the child process: TensorFlow's flatbuffer quantizer.

It has operators that litert-quantizer lacks (PRELU, LEAKY_RELU, LSTM), and it has segfaulted.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.core.data import Dataset
from edgekit.core.model import Model, Provenance


def quantize(
    path: str, out: str, data: Dataset, samples: int, activations: int, per_channel: bool
) -> None:
    """Quantize the float model at ``path`` to integers throughout and write it to ``out``.

    Inputs and outputs are integers too: int8, or int16 for 16-bit activations.
    """
    import tensorflow as tf
    from tensorflow.lite.python import convert
    from tensorflow.lite.python.optimize import calibrator

    content = Path(path).read_bytes()
    model = Model(content, "model", Provenance("tflite", "model"))
    order = sorted(model.inputs, key=lambda spec: model.graph.main.inputs.index(
        model.signature.inputs[spec.name]))

    def batches() -> Iterator[list[NDArray[np.generic]]]:
        for sample in data.samples(samples):
            yield [sample.inputs[spec.name] for spec in order]

    # The fused LSTM is calibrated inside, too: it needs tensors for its gates.
    gates = calibrator.add_intermediate_tensors(content)
    calibrated = calibrator.Calibrator(gates).calibrate(batches)
    kind = tf.int8 if activations == 8 else tf.int16
    quantized = convert.mlir_quantize(
        calibrated, disable_per_channel=not per_channel, fully_quantize=True,
        inference_type=_inference_type(activations), input_data_type=kind, output_data_type=kind,
    )  # fmt: skip
    Path(out).write_bytes(quantized)


def _inference_type(activations: int) -> int:
    from tensorflow.lite.toco import types_pb2

    kind = types_pb2.QUANTIZED_INT8 if activations == 8 else types_pb2.QUANTIZED_INT16
    return int(kind)
