"""Writes the table of shipped targets into docs/targets.md, from the files in targets/.

Usage: ``python tools/targets_table.py`` writes it, ``--check`` only says whether it is up to date.
"""

import sys
from pathlib import Path

from edgekit.core.target import Target, load_target, target_names

PAGE = Path(__file__).resolve().parent.parent / "docs" / "targets.md"
BEGIN = "<!-- targets: begin (written by tools/targets_table.py) -->"
END = "<!-- targets: end -->"
HEADER = (
    "| name | stands for | engine | CPU | RAM | flash "
    "| latency budget | RAM budget | flash budget | download budget |\n"
    "|---|---|---|---|--:|--:|--:|--:|--:|--:|"
)


def size(count: int | None) -> str:
    """Bytes as people write them: 256 KiB for powers of two, 20 MB for round decimals."""
    if count is None:
        return "–"
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("MB", 10**6), ("KiB", 1 << 10)):
        if count % scale == 0:
            return f"{count // scale} {unit}"
    return f"{count:,} B"


def clock(hertz: int) -> str:
    """Hertz as GHz or MHz."""
    return f"{hertz / 1e9:g} GHz" if hertz >= 1e9 else f"{hertz / 1e6:g} MHz"


def row(target: Target) -> str:
    """One line of the table."""
    hardware, budget = target.hardware, target.budget
    cells = (
        f"`{target.name}`",
        target.title,
        target.runtime.engine,
        f"{hardware.cpu}, {hardware.cores} × up to {clock(hardware.clock_hz)}",
        size(hardware.ram_bytes),
        size(hardware.flash_bytes),
        "–" if budget.latency_ms is None else f"{budget.latency_ms:g} ms",
        size(budget.ram_bytes),
        size(budget.flash_bytes),
        size(budget.download_bytes),
    )
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """All shipped targets, phones first, microcontrollers last."""
    kinds = ("android", "ios", "linux", "mcu", "npu")
    targets = sorted(
        (load_target(name) for name in target_names()),
        key=lambda target: (kinds.index(target.kind), target.name),
    )
    return "\n".join([HEADER, *map(row, targets)])


def with_table(page: str) -> str:
    """The page with what stands between the two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{PAGE} has lost its marks '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    """Write or check the page; 1 when ``--check`` finds it out of date."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = with_table(page)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    return int(page != wanted)


if __name__ == "__main__":
    sys.exit(main())
