"""Weights for property tests of compression."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@st.composite
def drawn(draw: st.DrawFn) -> np.ndarray:
    """Larger ones, of several scales, some zeros, some alike."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=8))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = random.normal(size=shape) * np.exp(random.normal(size=shape[-1]))
    weights = np.round(weights, draw(st.integers(0, 7)))
    weights[random.random(shape) < draw(st.sampled_from([0, 0.5, 0.9]))] = 0
    return weights.astype(np.float32)


def small_and_large(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    """Large ones by ``drawn``, and small ones of these elements."""
    shapes = hnp.array_shapes(max_dims=4, max_side=3)
    return st.one_of(drawn(), hnp.arrays(np.float32, shapes, elements=elements))
