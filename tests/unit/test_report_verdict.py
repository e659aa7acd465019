import copy
import json
from pathlib import Path

import pytest

from edgekit.report import verdict, view

GOLDEN = Path(__file__).parents[1] / "golden"


def document(name="android-build", **changes):
    loaded = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return {**loaded, **changes}


def part(value, provenance="measured", **more):
    return {"name": "model", "value": value, "unit": "bytes", "provenance": provenance,
            "where": "", "n": 1, "spread": None, **more}


def budget(value, limit=1000, status="pass", **more):
    return {"name": "flash_bytes", "limit": limit, "value": value, "unit": "bytes",
            "provenance": "measured", "status": status, **more}


@pytest.mark.parametrize(("budgets", "ok", "word", "text"), [
    ([budget(900)], True, "PASS", "the budget is met"),
    ([budget(900), budget(1)], True, "PASS", "all 2 budgets are met"),
    ([budget(900), budget(None, status="unknown")], True, "PASS",
     "1 of 2 budgets met, none missed; not certain: flash"),
    ([budget(1100, status="fail")], False, "FAIL", "flash 100 B over (+10 %)"),
    ([budget(1100, status="fail"), budget(1)], False, "FAIL",
     "1 of 2 budgets missed: flash 100 B over (+10 %)"),
    ([budget(900, status="warn")], False, "FAIL",
     "no budget is missed; --strict or a baseline decides, not certain: flash"),
    ([budget(900)], False, "FAIL", "no budget is missed, but a gate against a baseline is"),
    ([], True, "NO VERDICT", "there was no budget to judge by"),
])
def test_headline(budgets, ok, word, text):
    headline = verdict.headline(document(budgets=budgets, ok=ok))
    assert (headline.word, headline.text) == (word, text)


def test_inspection_has_no_verdict_unless_a_gate_is_missed():
    assert verdict.headline(document("profile")).silent
    assert verdict.headline(document("profile", ok=False)).word == "FAIL"


@pytest.mark.parametrize(("row", "value", "room"), [
    (budget(900), "900 B", "100 B left (10 %)"),
    (budget(1000), "1.0 kB", "0 B left (0 %)"),
    (budget(None, status="unknown"), "unknown", ""),
    (budget(900, parts=[part(900, lower_bound=True)]), "≥ 900 B", "100 B left (10 %)"),
    # One part is unknown, and what is certain is over already.
    (budget(None, status="fail", parts=[part(1200), part(None, None), part(9, "estimated")]),
     "≥ 1.2 kB", "200 B over (+20 %)"),
    (budget(5, limit=0), "5 B", "5 B over"),
    ({**budget(-0.24, limit=1), "unit": "pp"}, "−0.24 pp", "1.24 pp left"),
])
def test_value_and_headroom(row, value, room):
    assert verdict.budget_value(row) == value
    assert verdict.headroom(row) == room


def test_missed_budget_names_the_three_heaviest_layers():
    doc = document("mcu-build")
    (sentence, layers), = verdict.missed_lines(doc)
    assert sentence.startswith("flash: ≥ 298.0 kB against 262.1 kB, at least 35.9 kB over")
    assert [line.split(" ")[0] for line in layers] == doc["budgets"][0]["heaviest"]
    assert "70.7 kB, 25 % of the file" in layers[0]


def test_heaviest_layers_are_looked_up_where_bytes_count():
    doc = document("mcu-build")
    named = copy.deepcopy(doc["budgets"][0])
    del named["heaviest"]
    assert len(verdict.heaviest(doc, named)) == 3
    assert verdict.heaviest(doc, {**named, "name": "latency_ms"}) == []


@pytest.mark.parametrize(("fidelity", "shown"), [
    ({"cosine": 1.0, "sqnr_db": None, "max_abs": 0.0}, "bit-equal"),
    ({"cosine": 1.0, "sqnr_db": None}, "bit-equal"),
    ({"cosine": 0.0, "sqnr_db": None, "max_abs": 2.0}, "−∞ dB"),
    ({"cosine": None, "sqnr_db": None}, "−∞ dB"),
    ({"cosine": 0.99, "sqnr_db": 26.41}, "26.4 dB"),
])
def test_sqnr_without_a_number_is_not_always_good(fidelity, shown):
    assert view.sqnr({"top1_agreement": None, **fidelity}) == shown


def test_skipped_layers_are_grouped_by_reason():
    groups = view.skipped_groups(document("mcu-build"))
    assert [(group.stage, len(group.layers)) for group in groups] == [
        ("prune", 1), ("prune", 1), ("quantize", 2)]
