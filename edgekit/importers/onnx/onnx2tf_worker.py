"""Runs in the child process: ``--onnx-importer onnx2tf``, for whoever prefers what it makes.

onnx2tf overwrites the file that it is given and downloads pictures in the middle of a conversion.
It gets a copy, in a folder where it finds made-up pictures under the name that it looks for. What
comes out is held to the same parity as edgekit's own import.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.core import _runtime_worker as runtime
from edgekit.core.edit import to_bytes, to_objects
from edgekit.core.errors import EdgekitError
from edgekit.core.model import Model, Provenance
from edgekit.importers._finish_worker import signature_of
from edgekit.importers._proof_worker import Arrays, first_line
from edgekit.importers._shapes import settle_shapes
from edgekit.importers._tensorflow import Imported, Request
from edgekit.importers.onnx.loading import load
from edgekit.importers.onnx.reference import Session, port_of
from edgekit.importers.parity import ParityMeter

_PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"
_SAMPLES = 4


def convert_with_onnx2tf(request: Request) -> Imported:
    """Convert an ONNX file with onnx2tf.

    Raises:
        EdgekitError: It fails, or what it makes does not compute the same.
    """
    with chdir(request.folder):
        model = load(request.source)
    stored = {tensor.name for tensor in model.graph.initializer}
    ports = [port_of(item, request.source) for item in model.graph.input
             if item.name not in stored]
    shapes = settle_shapes(request.source, ports, request.input_shapes)
    raw = run_onnx2tf(model, dict(zip([p.name for p in ports], shapes, strict=True)),
                      request.source, Path(request.out).parent, nhwc=request.input_layout == "nhwc")
    data = named(raw, [port.name for port in ports], [o.name for o in model.graph.output])
    Path(request.out).write_bytes(data)
    made = Model(data, request.source, Provenance("onnx", request.source))
    moved = frozenset(port.name
                      for port, shape, spec in zip(ports, shapes, made.inputs, strict=True)
                      if spec.shape != shape)
    meter, notes = _compare(made, Session(lambda: model, request.source, moved), request)
    if problems := meter.problems():
        name, problem = next(iter(problems.items()))
        raise EdgekitError(f"{request.source}: output '{name}' of what onnx2tf made is not "
                           f"onnxruntime's: {problem}", "--onnx-importer edgekit")
    return Imported(("converted by onnx2tf", *notes), meter.rows(),
                    dict.fromkeys(sorted(moved), "nhwc"))


def run_onnx2tf(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], source: str, scratch: Path,
    *, nhwc: bool = False,
) -> bytes:  # fmt: skip
    """The float32 ``.tflite`` that onnx2tf makes of a model.

    Raises:
        EdgekitError: It gives up.
    """
    import onnx2tf

    with tempfile.TemporaryDirectory(dir=scratch) as folder, chdir(folder):
        onnx.save(model, "model.onnx")
        np.save(_PICTURES, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
        kept = [name for name, shape in shapes.items() if 3 <= len(shape) <= 5]
        try:
            onnx2tf.convert(
                input_onnx_file_path="model.onnx", output_folder_path="made",
                copy_onnx_input_output_names_to_tflite=True, non_verbose=True,
                overwrite_input_shape=[f"{name}:{','.join(map(str, shape))}"
                                       for name, shape in shapes.items() if shape],
                keep_shape_absolutely_input_names=None if nhwc or not kept else kept)
        except (Exception, SystemExit) as error:
            raise EdgekitError(f"onnx2tf cannot convert {source}: {first_line(error)}",
                               "--onnx-importer edgekit") from error
        found = sorted(Path("made").glob("*_float32.tflite"))
        if not found:
            raise EdgekitError(f"onnx2tf made no float32 .tflite of {source}",
                               "--onnx-importer edgekit")
        return found[0].read_bytes()


def named(raw: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """One signature with the source's names."""
    objects = to_objects(raw)
    main = objects.subgraphs[0]
    placed = {}
    for names, indices in ((inputs, main.inputs), (outputs, main.outputs)):
        by_name = {_plain(main.tensors[index].name.decode()): int(index) for index in indices}
        known = all(_plain(name) in by_name for name in names)
        placed[id(names)] = [by_name[_plain(name)] if known else int(indices[position])
                             for position, name in enumerate(names)]
    main.inputs, main.outputs = placed[id(inputs)], placed[id(outputs)]
    for names in (inputs, outputs):
        for name, index in zip(names, placed[id(names)], strict=True):
            main.tensors[index].name = name.encode()
    objects.signatureDefs = [signature_of(tuple(inputs), tuple(outputs), list(main.inputs),
                                          list(main.outputs))]
    return to_bytes(objects)


def _plain(name: str) -> str:
    return name.removeprefix("serving_default_").removesuffix(":0").replace(":", "_")


def _compare(made: Model, session: Session, request: Request) -> tuple[ParityMeter, list[str]]:
    """Both on the same inputs; onnx2tf may give pictures with their channels last."""
    meter, notes = ParityMeter(), {}
    generator = np.random.default_rng(0)
    io = {"input_index": made.signature.inputs, "output_index": made.signature.outputs}
    for _ in range(_SAMPLES):
        inputs: Arrays = {spec.name: runtime.draw(spec, generator) for spec in made.inputs}
        expected = session.run(inputs)
        got = runtime.invoke(request.out, io, inputs)
        for name, array in expected.items():
            if got[name].shape != array.shape and got[name].shape == _last(array).shape:
                expected[name] = _last(array)
                notes[name] = f"output '{name}' has its channels last, as onnx2tf gives it"
        meter.add(expected, got)
    return meter, list(notes.values())


def _last(array: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array
