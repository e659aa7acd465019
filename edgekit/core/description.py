"""How an input is prepared: what a user's ``[model.input.NAME]`` says."""

from typing import Literal

from edgekit.core.validation import Strict


class InputDescription(Strict):
    """How an input is prepared: ``[model.input.NAME]`` in edgekit.toml.

    An image's value is ``(pixel / 255 - mean) / std``, per channel.
    """

    kind: Literal["image", "audio", "tokens", "tensor"] = "tensor"
    layout: str | None = None
    color: Literal["rgb", "bgr", "grayscale"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    sample_rate: int | None = None
