"""Runs in the child process: Keras models of other precisions, rebuilt in float32."""

from collections.abc import Mapping
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.importers._proof_worker import first_line

_OTHER_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


def as_float32(model: Any, source: str) -> tuple[Any, list[str]]:  # noqa: ANN401
    """The same weights in a model that computes in float32.

    Raises:
        EdgekitError: Quantized by Keras, or not rebuildable from its configuration.
    """
    layers = list(model._flatten_layers())  # noqa: SLF001 - the same in both Keras
    for layer in layers:
        if getattr(layer, "quantization_mode", None) is not None:
            raise EdgekitError(
                f"{source}: layer '{layer.name}' is quantized by Keras ({layer.dtype_policy.name})",
                "give the model as it was before model.quantize(); edgekit quantizes it")
    policies = sorted({str(layer.compute_dtype) for layer in layers} & set(_OTHER_FLOATS))
    if not policies:
        return model, []
    try:
        custom = {type(layer).__name__: type(layer) for layer in layers}
        rebuilt = type(model).from_config(_in_float32(model.get_config()), custom_objects=custom)
        rebuilt.set_weights([weight.astype("float32") if weight.dtype.kind in "fV" else weight
                             for weight in model.get_weights()])
    except Exception as error:
        raise EdgekitError(f"{source} computes in {policies[0]} and cannot be rebuilt in float32: "
                           f"{first_line(error)}", "build it with the float32 policy") from error
    return rebuilt, [f"it computes in {', '.join(policies)}; converted and compared in float32"]


def _in_float32(config: Any, key: str = "") -> Any:  # noqa: ANN401
    """A configuration with every floating-point type replaced."""
    if isinstance(config, Mapping):
        is_policy = str(config.get("class_name", "")).endswith("Policy")
        return {k: _in_float32(v, "dtype" if is_policy and k == "config" else
                               (key if key == "dtype" and k == "name" else k))
                for k, v in config.items()}
    if isinstance(config, list):
        return [_in_float32(value, key) for value in config]
    if isinstance(config, tuple):
        return tuple(_in_float32(value, key) for value in config)
    return "float32" if key == "dtype" and config in _OTHER_FLOATS else config
