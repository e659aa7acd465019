import json
from pathlib import Path

from edgekit.report import runs

GOLDEN = Path(__file__).parents[1] / "golden"
HOST = "this host (x86-64)"
ON, OFF = f"{HOST}, 1 thread, XNNPACK on", f"{HOST}, 1 thread, XNNPACK off"


def item(name, value, where, **more):
    return {"name": name, "value": value, "unit": "ms", "where": where, "n": 50, "spread": 0.1,
            "provenance": None if value is None else "measured", **more}


def document(*measurements):
    loaded = json.loads((GOLDEN / "profile.json").read_text("utf-8"))
    return {**loaded, "measurements": list(measurements)}


def test_ways_of_running_become_columns():
    table = runs.run_table(document(
        item("latency_p50_ms", 3.0, ON), item("cold_start_ms", 20.0, ON, n=5),
        item("latency_p50_ms", 9.0, OFF), item("cold_start_ms", 2.0, OFF, n=5),
        item("arena_bytes", 4096, "greedy-by-size plan")))
    assert table.heading == f"Measured on {HOST}, 1 thread"
    assert table.places == (("XNNPACK on",), ("XNNPACK off",))
    assert [(row.name, [cell["value"] for cell in row.cells], row.runs) for row in table.rows] == [
        ("latency_p50_ms", [3.0, 9.0], "50"), ("cold_start_ms", [20.0, 2.0], "5")]


def test_one_way_has_one_column():
    table = runs.run_table(document(item("latency_p50_ms", 3.0, ON), item("open_ms", 1.0, ON)))
    assert table.heading == f"Measured on {ON}"
    assert table.places == (("value",),)


def test_unknown_value_is_shown_with_its_reason():
    doc = document(item("latency_p50_ms", 3.0, ON), item("open_ms", 1.0, ON),
                   item("latency_p99_ms", None, f"{ON}: needs 100 runs"))
    table = runs.run_table(doc)
    assert table.rows[-1].cells[0]["value"] is None
    assert table.rows[-1].runs == ""
    assert table.reasons == ("latency p99 unknown: needs 100 runs",)
    assert runs.other_measurements(doc) == []
    assert runs.latencies_at(doc, ON) == {"p50": 3.0}


def test_single_numbers_make_no_table():
    doc = document(item("arena_bytes", 1, "a plan"), item("macs", None, "WHILE"))
    assert runs.run_table(doc) is None
    assert [row["name"] for row in runs.other_measurements(doc)] == ["arena_bytes", "macs"]


def test_wide_table_is_cut_into_pieces():
    rows = [item(name, 1.0, f"{HOST}, {threads} threads") for threads in range(1, 8)
            for name in ("latency_p50_ms", "open_ms")]
    pieces = list(runs.run_table(document(*rows)).columns(3))
    assert [len(piece.places) for piece in pieces] == [3, 3, 1]
    assert all(len(row.cells) == len(piece.places) for piece in pieces for row in piece.rows)


def test_spread_is_said_once_for_a_way_of_running():
    assert runs.spread(item("latency_p50_ms", 3.0, ON)) == "0.100 ms"
    assert runs.spread(item("latency_p90_ms", 3.0, ON)) == ""
    assert runs.spread(item("open_ms", 3.0, ON, spread=None)) == ""


def test_first_series_is_of_the_way_that_no_other_series_names():
    doc = document(item("latency_p50_ms", 3.0, ON), item("latency_p50_ms", 9.0, OFF))
    assert runs.first_latency(doc, besides=[OFF])["where"] == ON
    assert runs.first_latency(doc, besides=[ON])["where"] == OFF
    assert runs.first_latency(doc, besides=[ON, OFF]) is None
