"""What holds for every row of PROFILERS."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flatbuffers_builder import FlatbufferBuilder, small_net
from jsonschema import Draft202012Validator

import edgekit.report
from edgekit.core.model import Model, Provenance
from edgekit.profilers import PROFILERS, ProfileResult, ProfileSettings

SETTINGS = ProfileSettings(runs=10, cold_starts=1)
SCHEMA = json.loads((Path(edgekit.report.__file__).parent / "schema-1.json").read_text())
COUNTS = ("parameters", "macs")


def int8_net() -> bytes:
    """One quantized operator."""
    file = FlatbufferBuilder()
    x = file.input("x", (1, 8), "int8", scale=0.1)
    y = file.tensor("y", (1, 8), "int8", scale=1 / 128)
    file.operator("TANH", [x], [y])
    file.output(y)
    return file.build()


@pytest.fixture(scope="module", params=list(PROFILERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[small_net, int8_net])
def result(request: pytest.FixtureRequest, name: str) -> ProfileResult:
    model = Model(request.param(), "net", Provenance("tflite", "net.tflite"))
    return PROFILERS[name](model, SETTINGS)


def validator(part: str) -> Draft202012Validator:
    known = {"measurement": SCHEMA["$defs"]["measurement"],
             "series": SCHEMA["properties"]["series"]["items"]}  # fmt: skip
    return Draft202012Validator(known[part])


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value.__dict__))


def test_measurements_are_what_the_report_takes(result: ProfileResult) -> None:
    assert result.measurements
    for row in result.measurements:
        validator("measurement").validate(as_json(row))
        assert row.where
        assert (row.value is None) == (row.provenance is None)
        assert row.value is None or row.value >= 0


def test_names_end_in_their_unit(result: ProfileResult) -> None:
    for row in result.measurements:
        if row.unit == "count":
            assert row.name in COUNTS
        else:
            assert row.name.endswith(f"_{row.unit}")


def test_a_name_and_a_place_say_which_figure_it_is(result: ProfileResult) -> None:
    keys = [(row.name, row.where) for row in result.measurements]
    assert len(set(keys)) == len(keys)


def test_series_are_what_the_report_takes(result: ProfileResult) -> None:
    for series in result.series:
        validator("series").validate(as_json(series))
        assert series.values
    assert len({series.name for series in result.series}) == len(result.series)


def test_conditions_are_json(result: ProfileResult) -> None:
    json.dumps(dict(result.conditions))


def test_looking_at_the_table_loads_no_framework() -> None:
    heavy = ["tensorflow", "ai_edge_litert", "litert_quantizer", "flatbuffers"]
    code = ("import sys, edgekit.profilers; "
            f"print([name for name in {heavy} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
