"""An existing ``.tflite``: taken as it is, float, mixed or integer."""

import hashlib
from pathlib import Path
from threading import Thread

from edgekit.core.errors import EdgekitError, did_you_mean
from edgekit.core.graph import IDENTIFIER, MAX_FILE_BYTES, Graph, SignatureRef, read_graph
from edgekit.core.metadata import read_description, split_appended
from edgekit.core.model import Model, Provenance, precision_of
from edgekit.core.sandbox import map_file, sandbox
from edgekit.importers.base import ImportOptions, model_name


class _Tflite:
    """Satisfies ``edgekit.importers.base.Importer``."""

    format = "tflite"
    form = ".tflite"
    extra = None

    def recognises(self, source: str) -> bool:
        """By the mark at byte 4, or by name so that a damaged file is called damaged."""
        path = Path(source)
        if not path.is_file():
            return False
        if path.suffix == ".tflite":
            return True
        with path.open("rb") as file:
            return file.read(8)[4:] == IDENTIFIER

    def load(self, source: str, options: ImportOptions) -> Model:
        """Read a TFLite file.

        Raises:
            EdgekitError: Damaged, over 2 GB, several signatures and none chosen, or open
                dimensions that nothing fixes.
        """
        path = Path(source)
        if path.stat().st_size > MAX_FILE_BYTES:
            raise EdgekitError(f"{source} is larger than 2 GB, the most that a TFLite file can be")
        if path.stat().st_size == 0:
            raise EdgekitError(f"{source} is empty")
        raw = map_file(path)
        graph = read_graph(raw, source)  # says "not a TFLite file" before anything looks for more
        data, files = split_appended(raw)
        data, notes = _settle(data, graph, options, source)
        labels, descriptions = read_description(data, files)
        model = Model(
            data=data,
            name=model_name(source, options),
            provenance=Provenance(
                self.format, path.name, None if data is raw else _sha256(raw), tuple(notes)
            ),
            descriptions={**descriptions, **options.descriptions},
            labels=options.labels or labels,
            files=files,
        )
        if data is raw:  # the child may read the user's own file; nobody writes to it
            sandbox().adopt(model, path.absolute())
        _hash_meanwhile(model)
        return model


TFLITE = _Tflite()


def _sha256(data: memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _hash_meanwhile(model: Model) -> None:
    """Fill ``model.sha256`` in a thread while the child works: 60 ms per 90 MB.

    Whoever asks before it is there computes it again, to the same end.
    """
    Thread(target=getattr, args=(model, "sha256"), daemon=True).start()


def _settle(
    data: bytes | memoryview, graph: Graph, options: ImportOptions, source: str
) -> tuple[bytes | memoryview, list[str]]:
    """One signature, in subgraph 0, static input shapes; unchanged where that holds.

    A float model's tensors also get unique names, because steps find layers by name.
    """
    from edgekit.importers import _tflite_edit as edit

    notes: list[str] = []
    chosen = _choose_signature(graph, options.signature, source)
    if chosen is not None and (len(graph.signatures) > 1 or chosen.subgraph != 0):
        data = edit.keep_signature(data, chosen.key)
        graph = read_graph(data, source)
        notes.append(f"signature '{chosen.key}' taken; the others and their subgraphs are left out")
    shapes = _shapes_to_fix(graph, options, source)
    if shapes:
        data = edit.fix_shapes(data, shapes)
        graph = read_graph(data, source)
        notes += [f"input '{name}' fixed to {list(shape)}" for name, shape in shapes.items()]
    if precision_of(graph) == "float" and not (_names_are_unique(graph) and graph.signatures):
        data, more = edit.make_workable(data)
        notes += more
    return data, notes


def _names_are_unique(graph: Graph) -> bool:
    for subgraph in graph.subgraphs:
        names = [tensor.name for tensor in subgraph.tensors]
        if len(set(names)) != len(names) or any(not n or "\ufffd" in n for n in names):
            return False
    return True


def _choose_signature(graph: Graph, wanted: str | None, source: str) -> SignatureRef | None:
    keys = [signature.key for signature in graph.signatures]
    if wanted is not None:
        if wanted not in keys:
            hint = did_you_mean(wanted, keys) or "leave --signature out"
            raise EdgekitError(f"{source} has no signature '{wanted}'", hint)
        return graph.signatures[keys.index(wanted)]
    if len(keys) > 1:
        raise EdgekitError(f"{source} has {len(keys)} signatures: {', '.join(keys)}",
                           "choose one with --signature NAME")
    return graph.signatures[0] if keys else None


def _shapes_to_fix(
    graph: Graph, options: ImportOptions, source: str
) -> dict[str, tuple[int, ...]]:
    """Shapes that the user asked for where the file leaves them open.

    An open batch stored as 1 needs no edit: the interpreter allocates it as 1.
    """
    model = Model(graph.data, source, Provenance("tflite", source))
    known = {spec.name: spec.shape for spec in model.inputs}
    for name in options.input_shapes:
        if name not in known:
            raise EdgekitError(f"{source} has no input '{name}'", did_you_mean(name, known))
    wanted: dict[str, tuple[int, ...]] = {}
    for name, shape in known.items():
        given = options.input_shapes.get(name)
        if given is not None:
            _check_shape(name, shape, given)
            wanted[name] = given
        elif -1 in shape:
            suggestion = ",".join(str(size) if size > 0 else "SIZE" for size in shape)
            raise EdgekitError(
                f"{source}: dimension {shape.index(-1)} of input '{name}' is open: {list(shape)}",
                f"fix it with --input-shape {name}={suggestion}",
            )
    return {name: shape for name, shape in wanted.items() if shape != known[name]}


def _check_shape(name: str, shape: tuple[int, ...], given: tuple[int, ...]) -> None:
    fits = len(shape) == len(given) and all(
        size > 0 and open_ in (-1, size) for size, open_ in zip(given, shape, strict=True)
    )
    if not fits:
        raise EdgekitError(
            f"input '{name}' is {list(shape)} and cannot be made {list(given)}",
            "only dimensions shown as -1 can be chosen",
        )
