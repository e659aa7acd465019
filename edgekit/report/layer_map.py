"""A map of the final file: each layer an area as large as its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.report import format as fmt
from edgekit.report import svg, view
from edgekit.report.document import Document, LayerPart
from edgekit.report.markup import Html, el, join, percent
from edgekit.report.treemap import Box, squarify

_WIDTH, _HEIGHT = 980, 400
# The least width of the map, in pixels, where report.css shows labels of these classes.
_SCREENS = {"on-wide": 980, "on-mid": 540, "on-narrow": 300}
_LEAST_CHARACTERS = 6
_MOST_CELLS, _LEAST_SHARE = 64, 0.004


@dataclass(frozen=True)
class _Cell:
    name: str
    tip: str
    bytes: int
    class_: str
    legend: str = ""


def layer_map(doc: Document) -> Html:
    """Where the final file's bytes are: its heaviest layers, the others by group, the rest."""
    cells = _cells(doc)
    boxes = squarify([cell.bytes for cell in cells], 1.0 * _WIDTH, 1.0 * _HEIGHT)
    shapes = [_cell(cell, box) for cell, box in zip(cells, boxes, strict=True)]
    said = ", ".join(f"{cell.name} {fmt.size(cell.bytes)}" for cell in cells[:5])
    drawing = svg.chart("layers", _HEIGHT, "Bytes of the final file by layer",
                        f"The largest areas: {said}", *shapes)
    kinds = dict.fromkeys(layer["dtype"] for layer in view.heaviest_layers(doc))
    entries = [(svg.dtype_class(kind), fmt.clean(kind)) for kind in kinds][:10]
    entries += dict.fromkeys((cell.class_, cell.legend) for cell in cells if cell.legend)
    return svg.figure(join(drawing, svg.legend(entries)))


def _cells(doc: Document) -> list[_Cell]:
    """The areas of the map, the largest first."""
    layers, total = view.heaviest_layers(doc), view.final_bytes(doc)
    summed = sum(layer["bytes"] for layer in layers)
    whole = max(total, summed)
    shown = [layer for layer in layers[:_MOST_CELLS] if layer["bytes"] >= _LEAST_SHARE * whole]
    names = short_names([layer["name"] for layer in shown])
    cells = [_layer_cell(layer, name, whole) for layer, name in zip(shown, names, strict=True)]
    cells += _group_cells(layers[len(shown):], whole)
    if total > summed:
        tip = f"graph, names and other records: {fmt.exact_size(total - summed)}"
        cells.append(_Cell("structure", tip, total - summed, "d-structure",
                           "structure: graph, names, quantization parameters"))
    return sorted(cells, key=lambda cell: -cell.bytes)


def _group_cells(layers: Sequence[LayerPart], whole: int) -> list[_Cell]:
    """The layers too small for areas of their own: by folder, and what is still too small."""
    prefix = view.common_folder([layer["name"] for layer in layers])
    groups: dict[str, list[int]] = {}
    for layer in layers:
        folder = layer["name"].removeprefix(prefix).partition("/")[0]
        groups.setdefault(folder, []).append(layer["bytes"])
    heaviest = sorted(groups, key=lambda name: -sum(groups[name]))
    large = [name for name in heaviest[:_MOST_CELLS]
             if sum(groups[name]) >= _LEAST_SHARE * whole and len(groups[name]) > 1]
    cells = [_group_cell(f"{fmt.clean(name)}/…", groups.pop(name)) for name in large]
    rest = [count for counts in groups.values() for count in counts]
    return cells + ([_group_cell("smaller layers" if len(rest) > 1 else "smaller layer", rest)]
                    if rest else [])


def _group_cell(name: str, counts: Sequence[int]) -> _Cell:
    total = sum(counts)
    tip = f"{name} · {fmt.plural(len(counts), 'layer')} · {fmt.exact_size(total)}"
    return _Cell(name, tip, total, "d-rest", "smaller layers together")


def short_names(names: Sequence[str]) -> list[str]:
    """Layer names for small places.

    Without the path that all share, and without the last part (``Relu6``, ``BiasAdd``) where
    they stay distinct.
    """
    cut = view.bare_names(names)
    folders = [name.rpartition("/")[0] or name for name in cut]
    chosen = folders if len(set(folders)) == len(folders) else cut
    return list(chosen)


def _layer_cell(layer: LayerPart, short: str, total: int) -> _Cell:
    name, macs = fmt.clean(layer["name"]), layer["macs"]
    tip = (f"{name} · {fmt.clean(layer['op'])}, {fmt.clean(layer['dtype'])} · "
           f"{fmt.exact_size(layer['bytes'])}, {fmt.share(layer['bytes'], total)}"
           + (f" · {fmt.count(macs)} MACs" if macs is not None else ""))
    return _Cell(short, tip, layer["bytes"], svg.dtype_class(layer["dtype"]))


def _cell(cell: _Cell, box: Box) -> Html:
    """One area with the labels that fit on each kind of screen."""
    by_label: dict[Html, list[str]] = {}
    for screen, width in _SCREENS.items():
        label = _label(cell, svg.fits(box.width * width / _WIDTH), box.height)
        by_label.setdefault(label, []).append(screen)
    labels = [el("g", label, class_=" ".join(screens))
              for label, screens in by_label.items() if label]
    return el("svg", el("title", cell.tip),
              el("rect", width="100%", height="100%", class_=f"cell {cell.class_}"), labels,
              x=percent(box.x / _WIDTH), y=box.y, width=percent(box.width / _WIDTH),
              height=box.height)


def _label(cell: _Cell, characters: int, height: float) -> Html:
    if height < 22 or characters < min(len(cell.name), _LEAST_CHARACTERS):
        return Html("")
    size = fmt.size(cell.bytes)
    under = height >= 40 and len(size) <= characters
    return join(svg.text(0, 16, fmt.cut(cell.name, characters), "on-fill", dx=7),
                svg.text(0, 32, size, "on-fill", dx=7) if under else None)
