"""The contract that every shipped target keeps: sound, sourced, and usable on its device."""

import datetime as dt
import runpy
import tomllib
from pathlib import Path

import pytest

from edgekit.core.target import Target, load_target, problems_of, target_names, targets_folder

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    "android", "android-low-end", "esp32-s3", "ios", "linux-x86-64", "nano-33-ble-sense",
    "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2w", "rp2040-pico", "stm32f746-disco",
    "wear-os",
}
RECIPES = {
    "float32", "float16", "dynamic-int8", "static-int8", "int16x8", "weight-only-int8",
    "weight-only-int4",
}
TABLES = ["name", "title", "kind", "runtime", "hardware", "accepts", "budget", "recipe", "package",
          "source"]
A_SMALL_MODEL_BYTES = 900_000


def raw(name: str) -> dict:
    return tomllib.loads((targets_folder() / f"{name}.toml").read_text(encoding="utf-8"))


@pytest.fixture(params=target_names())
def target(request: pytest.FixtureRequest) -> Target:
    return load_target(request.param)


@pytest.fixture(params=[n for n in target_names() if load_target(n).kind == "mcu"])
def microcontroller(request: pytest.FixtureRequest) -> Target:
    return load_target(request.param)


@pytest.fixture(params=[n for n in target_names() if load_target(n).kind in ("android", "ios")])
def phone(request: pytest.FixtureRequest) -> Target:
    return load_target(request.param)


def test_all_twelve_are_there():
    assert set(target_names()) >= SHIPPED


@pytest.mark.parametrize("name", target_names())
def test_is_named_after_its_file(name):
    assert load_target(name).name == name


def test_validates(target):
    assert problems_of(target) == []


@pytest.mark.parametrize("name", target_names())
def test_is_laid_out_like_the_others(name):
    assert list(raw(name)) == TABLES
    text = (targets_folder() / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# "), "the first line says what device class this stands for"
    assert text.endswith("\n")


def test_bounds_latency_and_ram(target):
    assert target.budget.latency_ms
    assert target.budget.ram_bytes


def test_budget_is_below_the_hardware(target):
    for bound in ("ram_bytes", "flash_bytes"):
        limit, there = getattr(target.budget, bound), getattr(target.hardware, bound)
        if limit is not None:
            assert there is not None, f"a {bound} budget for a device without that figure"
            assert limit < there


def test_every_number_has_exactly_one_source(target):
    fields = [source.field for source in target.source]
    assert len(fields) == len(set(fields))
    assert {field for field, _ in target.numbers()} <= set(fields)


def test_sources_say_where_or_why(target):
    for source in target.source:
        assert source.value, source.field
        assert source.url.startswith("https://") or (not source.url and source.note), source.field


def test_sources_have_real_dates(target):
    for source in target.source:
        assert dt.date.fromisoformat(source.date) >= dt.date(2026, 1, 1)


def test_budgets_are_our_own_and_give_their_reason(target):
    for source in target.source:
        if source.field.startswith("budget."):
            assert not source.url, source.field
            assert source.note, source.field


def test_published_hardware_is_never_our_own_choice(target):
    for source in target.source:
        if not source.field.startswith("budget."):
            assert source.url, source.field


def test_types_and_operators_exist_in_the_schema(target):
    from ai_edge_litert import schema_py_generated as schema

    assert all(hasattr(schema.TensorType, dtype.upper()) for dtype in target.accepts.dtypes)
    operators = target.accepts.operators or ()
    assert all(hasattr(schema.BuiltinOperator, operator) for operator in operators)


def test_recipes_are_built_in_and_deployable(target):
    chosen = {target.recipe.with_data, target.recipe.without_data} - {None}
    assert chosen <= RECIPES
    if not target.integer_only:
        assert target.recipe.without_data == "dynamic-int8"


def test_microcontrollers_have_no_2_bit_kernels(target):
    assert ("int2" in target.accepts.dtypes) == (target.runtime.engine == "litert")


def test_package_matches_the_engine(target):
    wanted = {"litert": ("tflite",), "tflm": ("tflite", "c-array")}
    assert target.package.files == wanted[target.runtime.engine]


def test_microcontrollers_are_integer_only_and_need_data(microcontroller):
    assert microcontroller.runtime.engine == "tflm"
    assert microcontroller.integer_only
    assert microcontroller.recipe.with_data == "static-int8"
    assert microcontroller.recipe.without_data is None
    assert not {"float32", "float16"} & set(microcontroller.accepts.dtypes)


def test_microcontrollers_share_one_sorted_operator_list(microcontroller):
    operators = microcontroller.accepts.operators
    assert operators == load_target("rp2040-pico").accepts.operators
    assert list(operators) == sorted(set(operators))
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= set(operators)
    assert "tflite-micro" in microcontroller.source_of("accepts.operators").url


def test_microcontrollers_leave_a_quarter_to_the_application(microcontroller):
    budget, hardware = microcontroller.budget, microcontroller.hardware
    assert budget.ram_bytes <= hardware.ram_bytes * 3 // 4
    assert budget.flash_bytes <= hardware.flash_bytes * 3 // 4


def test_phones_bound_the_download_and_take_a_small_model(phone):
    assert phone.runtime.download_bytes + A_SMALL_MODEL_BYTES < phone.budget.download_bytes
    assert phone.budget.ram_bytes > A_SMALL_MODEL_BYTES * 10


def test_the_table_in_the_docs_is_up_to_date():
    tool = runpy.run_path(str(ROOT / "tools" / "targets_table.py"))
    page = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")
    assert tool["with_table"](page) == page, "run python tools/targets_table.py"
