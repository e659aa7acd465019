"""Squarified treemaps (Bruls, Huizing, van Wijk 2000), as numbers only."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle; all four in the unit of the map's sides."""

    x: float
    y: float
    width: float
    height: float


def squarify(areas: Sequence[float], width: float, height: float) -> list[Box]:
    """Cut a map into boxes as near to squares as a greedy layout gets.

    Args:
        areas: Positive, from the largest to the smallest; their sum fills the map.
        width: Of the map.
        height: Of the map.

    Returns:
        One box for each area, in order; each box's area is proportional to it.
    """
    total = sum(areas)
    if total <= 0:
        return []
    scale = width * height / total
    waiting = [area * scale for area in areas]
    boxes: list[Box] = []
    free = Box(0.0, 0.0, width, height)
    while waiting:
        length = _row_length(waiting, min(free.width, free.height))
        row, waiting = waiting[:length], waiting[length:]
        placed, free = _place(row, free)
        boxes += placed
    return boxes


def _row_length(areas: Sequence[float], side: float) -> int:
    """How many areas make a row along ``side`` whose worst box is the least oblong."""
    best = _worst(areas[:1], side)
    for length in range(2, len(areas) + 1):
        worst = _worst(areas[:length], side)
        if worst > best:
            return length - 1
        best = worst
    return len(areas)


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of sides among the boxes of a row."""
    total = sum(row)
    if total <= 0 or side <= 0 or min(row) <= 0:
        return float("inf")
    return max(side * side * max(row) / (total * total), total * total / (side * side * min(row)))


def _place(row: Sequence[float], free: Box) -> tuple[list[Box], Box]:
    """Lay a row along the shorter side of ``free``; gives the boxes and what is left."""
    total = sum(row)
    boxes: list[Box] = []
    if free.width >= free.height:
        thick = min(total / free.height, free.width) if free.height else 0.0
        at = free.y
        for area in row:
            high = area / thick if thick else 0.0
            boxes.append(Box(free.x, at, thick, high))
            at += high
        return boxes, Box(free.x + thick, free.y, free.width - thick, free.height)
    thick = min(total / free.width, free.height)
    at = free.x
    for area in row:
        wide = area / thick if thick else 0.0
        boxes.append(Box(at, free.y, wide, thick))
        at += wide
    return boxes, Box(free.x, free.y + thick, free.width, free.height - thick)
