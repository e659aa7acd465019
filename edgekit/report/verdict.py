"""The verdict and the budgets in words, before any layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.report import format as fmt
from edgekit.report import view
from edgekit.report.document import BudgetPart, Document, LayerPart

HEAVIEST = 3
STATUS_WORDS = {"pass": "pass", "warn": "not certain", "fail": "missed", "unknown": "unknown"}


@dataclass(frozen=True)
class Headline:
    """The verdict: the exit status in one sentence.

    Attributes:
        status: ``none`` when there was nothing to judge.
        word: ``PASS``, ``FAIL``, ``NO VERDICT``, or empty without a target.
        text: Why, without the word.
    """

    status: Literal["pass", "warn", "fail", "none"]
    word: str
    text: str

    @property
    def silent(self) -> bool:
        """Whether nothing was to be judged and nobody asked."""
        return not self.word


def headline(document: Document) -> Headline:
    """The verdict line that every report ends or starts with."""
    budgets = document["budgets"]
    failed = [budget for budget in budgets if budget["status"] == "fail"]
    unsure = [budget for budget in budgets if budget["status"] in ("warn", "unknown")]
    if failed:
        return Headline("fail", "FAIL", _missed_sentence(failed, len(budgets)))
    if not document["ok"]:
        why = (f"no budget is missed; --strict or a baseline decides, not certain: {_names(unsure)}"
               if unsure
               else "no budget is missed, but a gate against a baseline is")
        return Headline("fail", "FAIL", why)
    if not budgets:
        word = "NO VERDICT" if document["target"] else ""
        return Headline("none", word, "there was no budget to judge by")
    met = len(budgets) - len(unsure)
    if unsure:
        return Headline("warn", "PASS", f"{met} of {fmt.plural(len(budgets), 'budget')} met, "
                        f"none missed; not certain: {_names(unsure)}")
    many = "the budget is" if met == 1 else f"all {met} budgets are"
    return Headline("pass", "PASS", f"{many} met")


def _names(budgets: Sequence[BudgetPart]) -> str:
    return ", ".join(fmt.label(budget["name"]) for budget in budgets)


def _missed_sentence(failed: Sequence[BudgetPart], total: int) -> str:
    over = ", ".join(f"{fmt.label(budget['name'])} {overrun(budget)}" for budget in failed)
    return over if total == 1 else f"{len(failed)} of {total} budgets missed: {over}"


def certain_value(budget: BudgetPart) -> float | None:
    """What the budget's value is at least: its value, or the sum of the parts that are certain."""
    if budget["value"] is not None:
        return budget["value"]
    certain = [part["value"] for part in budget.get("parts", [])
               if part["value"] is not None
               and (part.get("lower_bound") or part["provenance"] in ("measured", "simulated"))]
    return sum(certain) if certain else None


def at_least(budget: BudgetPart) -> bool:
    """Whether the true value may be more than the one shown."""
    parts = budget.get("parts", [])
    return budget["value"] is None or any(part.get("lower_bound") for part in parts)


def budget_value(budget: BudgetPart) -> str:
    """The value against the limit: ``445.4 kB``, ``≥ 84.2 kB`` or ``unknown``."""
    value = certain_value(budget)
    if value is None:
        return fmt.UNKNOWN
    return ("≥ " if at_least(budget) else "") + fmt.quantity(value, budget["unit"])


def headroom(budget: BudgetPart) -> str:
    """What is left, or what it is over by: ``9.6 MB left (96 %)``, ``31.2 kB over (+12 %)``.

    Where the value has a ``≥`` the truth is worse; ``overrun`` says so in words.
    """
    value, limit, unit = certain_value(budget), budget["limit"], budget["unit"]
    if value is None:
        return ""
    relative = limit > 0 and unit not in ("pp", "%")
    if value > limit:
        ratio = f" ({fmt.change(value / limit - 1)})" if relative else ""
        return f"{fmt.quantity(value - limit, unit)} over{ratio}"
    if budget["value"] is None:
        return ""
    ratio = f" ({fmt.share(limit - value, limit)})" if relative else ""
    return f"{fmt.quantity(limit - value, unit)} left{ratio}"


def overrun(budget: BudgetPart) -> str:
    """By how much a missed budget is over: ``at least 31.2 kB over (+12 %)``."""
    return ("at least " if at_least(budget) else "") + headroom(budget)


def heaviest(document: Document, budget: BudgetPart) -> list[str]:
    """The layers that weigh most on a missed budget, with their bytes where those count."""
    by_name = {layer["name"]: layer for layer in document["layers"]}
    names = budget.get("heaviest", [])
    if not names and budget["name"] in ("flash_bytes", "download_bytes"):
        names = [layer["name"] for layer in view.heaviest_layers(document)[:HEAVIEST]]
    return [_weighed(name, by_name.get(name), document) for name in names[:HEAVIEST]]


def _weighed(name: str, layer: LayerPart | None, document: Document) -> str:
    if layer is None:
        return fmt.shorten(fmt.clean(name), 60)
    total = view.final_bytes(document)
    part = f", {fmt.share(layer['bytes'], total)} of the file" if total else ""
    return f"{fmt.shorten(fmt.clean(name), 60)} ({fmt.size(layer['bytes'])}{part})"


def unsure_lines(document: Document) -> list[str]:
    """One line for each budget that is unknown or decided by an estimate: which, and why."""
    return [f"{fmt.label(budget['name'])}: {reason(budget)}"
            for budget in document["budgets"] if budget["status"] in ("warn", "unknown")]


def reason(budget: BudgetPart) -> str:
    """Why the budget's status is what it is."""
    return fmt.clean(budget.get("reason", "")) or "no reason given"


def missed_lines(document: Document) -> list[tuple[str, list[str]]]:
    """For each missed budget: what is over and by how much, and the heaviest layers."""
    return [(missed_line(budget), heaviest(document, budget))
            for budget in document["budgets"] if budget["status"] == "fail"]


def missed_line(budget: BudgetPart) -> str:
    """A missed budget in a sentence: ``flash: 293 kB against 262 kB, 31 kB over (+12 %)``."""
    limit = fmt.quantity(budget["limit"], budget["unit"])
    return (f"{fmt.label(budget['name'])}: {budget_value(budget)} against {limit}, "
            f"{overrun(budget)}")
