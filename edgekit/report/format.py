"""Numbers and names as people read them: one place, so that every report says them alike.

Sizes are decimal (1 kB = 1000 B), times are in ms, fractions become per cent. Nothing here ever
returns "None": what is unknown is ``UNKNOWN``.
"""

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

UNKNOWN = "unknown"
NOTHING = "–"

# Metrics that are fractions of samples: shown in per cent, their drop in percentage points.
_FRACTION_METRICS = {"accuracy", "agreement", "top1_agreement"}
_ACRONYMS = {"ram": "RAM", "rss": "RSS", "macs": "MACs", "cpu": "CPU", "npu": "NPU", "sram": "SRAM"}
_WORDS = {"deflate_bytes": "deflated", "file_bytes": "file"}
_UNIT_SUFFIXES = ("_bytes", "_ms", "_fraction")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def clean(text: str) -> str:
    """Untrusted text on one line: no control, direction or surrogate characters."""
    return "".join(
        " " if char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(char) in _INVISIBLE else char
        for char in text)


def shorten(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters; the middle goes, as both ends tell layers apart."""
    if len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = (width - 1) // 2
    return text[:width - 1 - tail] + "…" + text[len(text) - tail:]


def cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters; the end goes, where beginnings tell more."""
    return text if len(text) <= width else text[:max(width - 1, 0)] + "…"[:width]


def significant(value: float | None, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits: 0.142, 14.2, 1,420, 2.38e-7."""
    if value is None:
        return UNKNOWN
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("infinite" if value > 0 else "−infinite")
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e15:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return _minus(f"{mantissa}e{int(exponent)}")
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    # 9.996 rounds up to one digit more than its magnitude has room for.
    decimals = digits - 1 - math.floor(math.log10(abs(round(value, decimals)) or 1))
    return _minus(f"{round(value, decimals):,.{max(decimals, 0)}f}")


def trimmed(value: float) -> str:
    """``value`` to six significant digits without trailing zeros: 0.5, 3.4987."""
    text = significant(value, 6)
    return text if "e" in text or "." not in text else text.rstrip("0").rstrip(".")


def size(count: float) -> str:
    """Bytes with a decimal prefix: ``999 B``, ``90.4 kB``, ``10.0 MB``."""
    if abs(count) < 1000:
        return _minus(f"{count:.0f} B")
    for prefix in ("k", "M", "G", "T"):
        count /= 1000
        if abs(count) < 999.95 or prefix == "T":
            break
    return _minus(f"{count:,.1f} {prefix}B")


def optional_size(count: float | None) -> str:
    """A size, or nothing where there is none to give."""
    return "" if count is None else size(count)


def exact_size(count: float) -> str:
    """Bytes in full: ``90,412 B``."""
    return f"{whole(count)} B"


def whole(count: float) -> str:
    """A count in full: ``54,218``."""
    return _minus(f"{count:,.0f}")


def count(value: float) -> str:
    """A large count: ``812``, ``54.2 k``, ``2.70 M``, ``1.20 G``."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{significant(value / factor)} {prefix}"
    return whole(value)


def milliseconds(value: float) -> str:
    """A time: ``0.142 ms``, ``1,420 ms``."""
    return f"{significant(value)} ms"


def seconds(value: float) -> str:
    """How long a step took: ``0.03 s``, ``4.0 s``, ``66 s``, ``12 min``."""
    if value < 9.95:
        return f"{value:.{1 if value >= 0.095 else 2}f} s"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def percent(fraction: float, decimals: int = 2) -> str:
    """A fraction in [0, 1] in per cent: ``91.45 %``."""
    return _minus(f"{fraction * 100:.{decimals}f} %")


def share(part: float, total: float) -> str:
    """``part`` of ``total`` in per cent, never rounded to nothing: ``< 0.1 %``, ``14 %``."""
    if total <= 0:
        return NOTHING
    fraction = part / total
    if 0 < fraction < 0.001:
        return "< 0.1 %"
    return percent(fraction, 0 if fraction >= 0.0995 or fraction == 0 else 1)


def change(ratio: float) -> str:
    """A relative change with its sign: ``+12 %``, ``−60 %``, ``+0.4 %``."""
    sign = "+" if ratio > 0 else ""
    return sign + _minus(f"{ratio * 100:,.{0 if abs(ratio) >= 0.0995 else 1}f} %")


def smaller(before: float, after: float) -> str:
    """How many times smaller: ``2.5×``; below 1 it grew."""
    if after <= 0 or before <= 0:
        return NOTHING
    ratio = before / after
    decimals = 0 if ratio >= 99.5 else 1 if ratio >= 0.95 else 2
    return f"{ratio:,.{decimals}f}×"


def size_change(before: float, after: float) -> str:
    """A change of size in words: ``2.5× smaller``, ``1.3× larger``, ``same size``."""
    if before <= 0 or after <= 0 or 0.95 <= before / after < 1.05:
        return "same size"
    return f"{smaller(before, after)} smaller" if after < before \
        else f"{smaller(after, before)} larger"


def is_fraction_metric(metric: str) -> bool:
    """Whether a metric is a share of samples, shown in per cent."""
    return metric in _FRACTION_METRICS


def quality(metric: str, value: float | None) -> str:
    """A metric's value: accuracy and agreement in per cent, cosine in nines, others plainly."""
    if value is None:
        return UNKNOWN
    if is_fraction_metric(metric):
        return percent(value)
    return cosine(value) if metric == "cosine" else significant(value, 4)


def drop(metric: str, value: float | None) -> str:
    """A drop against stage 0: percentage points for shares of samples, per cent otherwise.

    A positive drop is worse and has no sign; a gain has a minus.
    """
    if value is None:
        return UNKNOWN
    return _minus(f"{value:.2f} {'pp' if is_fraction_metric(metric) else '%'}")


def cosine(value: float | None) -> str:
    """A cosine, cut and not rounded, so that only equal outputs show 1.00000."""
    if value is None:
        return UNKNOWN
    return _minus(f"{math.floor(value * 1e5 + 1e-6) / 1e5:.5f}")


def decibels(value: float) -> str:
    """A ratio of powers: ``42.1 dB``."""
    return _minus(f"{value:.1f} dB")


def quantity(value: float | None, unit: str) -> str:
    """A value in its unit, for reading."""
    if value is None:
        return UNKNOWN
    if unit == "bytes":
        return size(value)
    if unit == "ms":
        return milliseconds(value)
    if unit in ("count", ""):
        return count(value)
    if unit in ("pp", "%"):
        return _minus(f"{value:.2f} {unit}")
    return f"{significant(value)} {clean(unit)}"


def exact(value: float | None, unit: str) -> str:
    """A value in its unit with every digit that means something, for tooltips and tables."""
    if value is None:
        return UNKNOWN
    if unit == "bytes":
        return exact_size(value)
    return whole(value) if unit in ("count", "") else f"{trimmed(value)} {clean(unit)}"


def label(name: str) -> str:
    """A measurement's or budget's name in words: ``latency_p50_ms`` → ``latency p50``."""
    if name in _WORDS:
        return _WORDS[name]
    name = clean(name)
    for suffix in _UNIT_SUFFIXES:
        name = name.removesuffix(suffix)
    return " ".join(_ACRONYMS.get(word, word) for word in name.split("_"))


def capital(text: str) -> str:
    """``text`` with its first letter upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def plural(number: int, noun: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def plain(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """A free-form JSON value in words."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return trimmed(value)
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(plain(item) for item in value)
    return clean(json.dumps(value, ensure_ascii=False))


def flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A free-form mapping as rows; keys of nested mappings are joined with dots."""
    rows: list[tuple[str, str]] = []
    for key, value in mapping.items():
        name = prefix + clean(str(key))
        if isinstance(value, Mapping):
            rows += flat(value, name + ".")
        else:
            rows.append((name, plain(value)))
    return rows


def _minus(text: str) -> str:
    """A real minus sign, and none in front of a rounded zero."""
    if not text.startswith("-"):
        return text
    return text[1:] if not any(digit in text for digit in "123456789") else "−" + text[1:]
