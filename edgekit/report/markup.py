"""HTML and SVG that cannot be injected into: every text is escaped unless it is already ``Html``.

The report is made from names in untrusted files, so no other module of the report writes a tag.
"""

from collections.abc import Iterable
from html import escape

from edgekit.report import format as fmt

_VOID = {"meta", "br", "hr"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
Attribute = str | float | bool | None


def el(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element.

    Args:
        name: The tag.
        *children: Texts (escaped), ``Html`` (as it is), None (nothing), or iterables of these.
        **attributes: Trailing underscores are dropped and others become dashes (``class_``,
            ``aria_label``); None and False leave the attribute out, True gives it no value.
    """
    inside = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{inside}>")
    return Html(f"<{name}{inside}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """The children one after the other."""
    return Html("".join(_child(child) for child in children))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return escape(fmt.clean(child), quote=False)
    return "".join(_child(item) for item in child)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, int | float) else escape(fmt.clean(value))
    return f' {name}="{text}"'


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def percent(fraction: float) -> str:
    """A fraction of the width or height as a coordinate."""
    return f"{number(float(fraction) * 100)}%"
