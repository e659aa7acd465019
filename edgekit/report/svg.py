"""What the charts share: the frame, axes, and the classes that the style sheet colours.

Charts are as wide as the page lets them be: horizontal coordinates are per cent, vertical ones
pixels, so text keeps its size from a phone to a desktop.
"""

import math
from collections.abc import Iterable, Sequence

from edgekit.report import format as fmt
from edgekit.report.markup import Child, Html, el, percent

# Colours are chosen in report.css by these classes; a type's colour never changes with the file.
_DTYPE_CLASSES = {
    "float64": "float32", "float32": "float32", "float16": "float16", "bfloat16": "float16",
    "int64": "int32", "int32": "int32", "int16": "int16", "uint8": "int8", "int8": "int8",
    "int4": "int4", "uint4": "int4", "int2": "int2", "structure": "structure",
}
_CHARACTER_PIXELS = 7.2


def dtype_class(dtype: str) -> str:
    """The style class of a tensor type; never made from the file's own text."""
    return "d-" + _DTYPE_CLASSES.get(dtype, "other")


def chart(key: str, height: float, title: str, description: str, *children: Child,
          y_axis: bool = False) -> Html:
    """An SVG as wide as its column.

    Args:
        key: Unique in the page; makes the identifiers that ARIA needs.
        height: In pixels.
        title: Its name for screen readers.
        description: What it shows, in a sentence with the numbers that matter.
        *children: Shapes.
        y_axis: Whether room is left for the labels of ``y_tick``.
    """
    return el("svg", el("title", title, id=f"{key}-title"),
              el("desc", description, id=f"{key}-desc"), *children,
              class_="chart y-axis" if y_axis else "chart", role="img", width="100%", height=height,
              aria_labelledby=f"{key}-title", aria_describedby=f"{key}-desc")


def rect(
    x: float, y: float, width: float, height: float, class_: str, tip: str | None = None
) -> Html:
    """A rectangle; ``x`` and ``width`` are fractions of the chart, the rest pixels."""
    return el("rect", el("title", tip) if tip else None, x=percent(x), y=y,
              width=percent(max(width, 0.0)), height=height, class_=class_)


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start",
         dx: float = 0) -> Html:
    """A line of text at a fraction of the width."""
    return el("text", content, x=percent(x), y=y, dx=dx or None, class_=class_ or None,
              text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A line; ``x1`` and ``x2`` are fractions of the width."""
    return el("line", x1=percent(x1), y1=y1, x2=percent(x2), y2=y2, class_=class_)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values within [low, high], at most ``most`` + 1 of them."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def side(x: float) -> str:
    """The text anchor that keeps a label at ``x`` inside the chart."""
    return "start" if x < 0.08 else "end" if x > 0.92 else "middle"


def x_axis(values: Iterable[tuple[float, str]], y: float) -> Html:
    """Labels under a plot, given as (fraction of the width, label)."""
    return el("g", [text(x, y, label, "tick", side(x)) for x, label in values])


def y_tick(y: float, label: str) -> Html:
    """A grid line with its label left of the plot."""
    return el("g", line(0, y, 1, y, "grid"), text(0, y + 4, label, "tick", "end", dx=-8))


def fits(width_pixels: float) -> int:
    """How many characters of chart text fit."""
    return max(0, int((width_pixels - 12) / _CHARACTER_PIXELS))


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """What the colours mean, as (class, words)."""
    return el("ul", [el("li", el("span", class_=f"swatch {class_}", aria_hidden="true"), words)
                     for class_, words in entries], class_="legend")


def figure(content: Child, caption: Child = None) -> Html:
    """A chart with what must be said under it."""
    return el("figure", content, el("figcaption", caption) if caption else None)


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that can be drawn: JSON has null for what is not finite."""
    return [value for value in values if value is not None and math.isfinite(value)]


def size_ticks(high: float, most: int) -> list[float]:
    """Round sizes from zero, without the zero."""
    return [value for value in ticks(0, high, most) if value > 0]


def size_label(value: float) -> str:
    """A round size without ``.0``: ``300 kB``, ``1.5 MB``."""
    return fmt.size(value).replace(".0 ", " ")
