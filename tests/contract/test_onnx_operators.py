"""Every row of the ONNX operator table against the ONNX project's own list of operators."""

import pytest
from onnx import defs

from edgekit.importers.onnx.operators import OPERATORS

pytestmark = pytest.mark.slow

# Of ONNX's own domain; training and classical machine learning are others.
SCHEMAS = {schema.name: schema for schema in defs.get_all_schemas() if schema.domain == ""}
# No numbers come out of these, or none that a device could compute from numbers.
NOT_FOR_DEVICES = {"StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch",
                   "ImageDecoder", "TfIdfVectorizer"}  # fmt: skip


# onnxruntime's optimizer puts it into ONNX's own domain, without a schema there.
NOT_IN_ONNX = {"SimplifiedLayerNormalization"}


@pytest.mark.parametrize("name", sorted(name for name in OPERATORS
                                        if ":" not in name and name not in NOT_IN_ONNX))
def test_a_row_follows_the_newest_specification(name):
    """A new version of an operator in ONNX fails here until somebody has read it."""
    assert name in SCHEMAS, f"{name} is no ONNX operator"
    assert OPERATORS[name].spec == SCHEMAS[name].since_version


def test_every_operator_has_a_row_or_a_definition():
    lacking = {
        name for name, schema in SCHEMAS.items()
        if name not in OPERATORS and not schema.deprecated and not schema.has_function
        and not schema.has_context_dependent_function
    }
    assert lacking <= NOT_FOR_DEVICES
