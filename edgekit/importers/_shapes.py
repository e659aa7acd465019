"""Open dimensions of a source's inputs: the batch becomes 1, the others are the user's to fix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.core.errors import EdgekitError, did_you_mean

OPEN = -1
_NOT_NUMBERS = ("string", "resource", "variant", "complex64", "complex128")


@dataclass(frozen=True)
class Port:
    """An input of the source.

    Attributes:
        shape: With -1 where it is open; None when not even the rank is known.
        batched: Whether the first axis is known to be the sample.
        axes: Names of the axes, "" where one has none; empty where none has.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    batched: bool = True
    axes: tuple[str, ...] = ()


def settle_shapes(
    source: str, ports: Sequence[Port], given: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """A static shape for each input, in order.

    Args:
        source: The source's name, for messages.
        ports: Its inputs.
        given: ``--input-shape``, by input name.

    Raises:
        EdgekitError: A dimension stays open, a given shape does not fit, or an input is not
            made of numbers.
    """
    names = [port.name for port in ports]
    for name in given:
        if name not in names:
            raise EdgekitError(f"{source} has no input '{name}'", did_you_mean(name, names))
    known = _named_sizes(ports, given)
    return tuple(_settle(source, port, given.get(port.name), known) for port in ports)


def _named_sizes(
    ports: Sequence[Port], given: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    """What axes are known to be that share a name: a batch is one batch for all inputs."""
    known: dict[str, int] = {}
    for port in ports:
        if port.shape is None or not port.axes:
            continue
        shape = given.get(port.name)
        if shape is not None and len(shape) == len(port.shape):
            known.update(zip(port.axes, shape, strict=True))
        elif port.shape[:1] == (OPEN,) and len(port.shape) > 1:
            known.setdefault(port.axes[0], 1)
    return {name: size for name, size in known.items() if name}


def _settle(
    source: str, port: Port, given: tuple[int, ...] | None, known: Mapping[str, int]
) -> tuple[int, ...]:
    if port.dtype in _NOT_NUMBERS:
        raise EdgekitError(
            f"{source}: input '{port.name}' is {port.dtype}; on a device, inputs are numbers",
            "cut the preprocessing off: export the part of the model behind it",
        )
    if given is not None:
        return _fitting(source, port, given)
    if port.shape is None:
        raise EdgekitError(f"{source}: input '{port.name}' has no known shape",
                           f"give it with --input-shape {port.name}=1,SIZE,…")
    shape = list(port.shape)
    if port.axes:
        shape = [known.get(name, size) if size == OPEN else size
                 for size, name in zip(shape, port.axes, strict=True)]
    if shape[:1] == [OPEN] and (port.batched or len(shape) > 1):
        shape[0] = 1
    if OPEN in shape:
        suggestion = ",".join(str(size) if size != OPEN else "SIZE" for size in shape)
        raise EdgekitError(
            f"{source}: dimension {_axis(port, shape.index(OPEN))} of input '{port.name}' is open: "
            f"{list(port.shape)}",
            f"fix it with --input-shape {port.name}={suggestion}",
        )
    return tuple(shape)


def _axis(port: Port, position: int) -> str:
    name = port.axes[position] if port.axes else ""
    return f"{position} ('{name}')" if name else str(position)


def _fitting(source: str, port: Port, given: tuple[int, ...]) -> tuple[int, ...]:
    fits = all(size > 0 for size in given) and (port.shape is None or (
        len(given) == len(port.shape)
        and all(open_ in (OPEN, size) for size, open_ in zip(given, port.shape, strict=True))))
    if not fits:
        shape = "of unknown shape" if port.shape is None else str(list(port.shape))
        raise EdgekitError(
            f"{source}: input '{port.name}' is {shape} and cannot be made {list(given)}",
            "only dimensions shown as -1 can be chosen",
        )
    return given
