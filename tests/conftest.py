"""Fixtures that many tests share."""

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
MODELS = Path(os.environ.get("EDGEKIT_MODELS", ROOT / ".cache" / "models"))


def real_model(place: str) -> Path:
    """A model that nobody here trained; a missing one is a failure, not a skip."""
    path = MODELS / place
    if not path.exists():
        pytest.fail(f"{path} is missing; run: python tools/fetch_models.py")
    return path


@pytest.fixture(scope="session")
def pitch_tflite() -> Path:
    """A float .tflite with 222 operators, one input, three outputs (basic-pitch)."""
    return real_model("basic-pitch/nmp.tflite")


@pytest.fixture(scope="session")
def emotion_tflite() -> Path:
    """A dynamic int8 .tflite without a signature (fer)."""
    return real_model("fer/emotion_model_quantized.tflite")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
