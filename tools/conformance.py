"""The ONNX project's own tests (``onnx.backend.test``) through importer → LiteRT.

Each test is a small model with inputs and expected outputs. A test passes when LiteRT's outputs
equal the expected ones within the test's own tolerance, in shape and type, too.

Left out, by a rule on the types in the model, never by name: strings, sequences, optionals,
training operators, and element types that a TFLite graph does not compute in.

Many tests feed at run time what models have as constants: axes, shapes, weights' paddings. Where
the importer says that it needs an input to be constant, the test's value is put into the model;
the summary counts those.
"""

import argparse
import collections
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import onnx
from conformance_case import Case
from onnx import TensorProto, numpy_helper

from edgekit.core.errors import EdgekitError
from edgekit.core.sandbox import Sandbox, WorkerError

KINDS = ("node", "pytorch-converted", "pytorch-operator", "light")
TYPES = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL,
         TensorProto.UINT8, TensorProto.INT8}  # fmt: skip
TRAINING = ("ai.onnx.preview.training",)


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    case: Case
    status: str  # passed | failed
    message: str = ""
    baked: tuple[str, ...] = ()


def excluded(model: onnx.ModelProto) -> str:
    """The rule that leaves a test out; empty when none does."""
    if any(item.domain in TRAINING for item in model.opset_import):
        return "training operators"
    for item in (*model.graph.input, *model.graph.output):
        kind = item.type.WhichOneof("value")
        if kind in ("sequence_type", "optional_type"):
            return "sequences and optionals"
        stored = item.type.tensor_type.elem_type
        if stored == TensorProto.STRING:
            return "strings"
        if stored not in TYPES:
            return "types that TFLite graphs do not compute in"
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.STRING:
            return "strings"
    return ""


def load_cases(kinds: Sequence[str]) -> Iterator[tuple[Case | None, str]]:
    """Every test, or None with the rule that leaves it out."""
    from onnx.backend.test import loader

    for kind in kinds:
        if kind == "light":
            yield from ((case, "") for case in _light_cases())
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = loader.load_model_tests(kind=kind)
        for test in found:
            model, data = _model_and_data(test)
            rule = excluded(model)
            operators = tuple(dict.fromkeys(node.op_type for node in model.graph.node))
            yield (None, rule) if rule else (Case(
                test.name, kind, model.SerializeToString(), data, test.rtol, test.atol,
                operators), "")


def _light_cases() -> Iterator[Case]:
    """Whole networks with made-up weights; onnxruntime computes what is expected of them."""
    from onnx.backend.test import data

    for path in sorted((Path(data.__path__[0]) / "light").glob("*.onnx")):
        yield Case(path.stem, "light", path.read_bytes(), (), 1e-3, 1e-5, ())


def _model_and_data(test: Any) -> tuple[onnx.ModelProto, tuple[tuple[Any, Any], ...]]:  # noqa: ANN401
    if test.model is not None:
        return test.model, tuple((list(i), list(o)) for i, o in test.data_sets)
    folder = Path(test.model_dir)
    sets = []
    for place in sorted(folder.glob("test_data_set_*")):
        sides = []
        for side in ("input", "output"):
            files = sorted(place.glob(f"{side}_*.pb"),
                           key=lambda p: int(p.stem.rpartition("_")[2]))
            sides.append([_array(file) for file in files])
        sets.append(tuple(sides))
    return onnx.load(folder / "model.onnx"), tuple(sets)


def _array(file: Path) -> Any:  # noqa: ANN401
    proto = TensorProto()
    proto.ParseFromString(file.read_bytes())
    return numpy_helper.to_array(proto)


class Runner:
    """A child process that runs tests; one that crashes or hangs costs its own test only."""

    def __init__(self, importer: str) -> None:
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        self._box = Sandbox()
        self._importer = importer

    def run(self, case: Case) -> Outcome:
        """One test in the child."""
        try:
            status, message, baked = self._box.call(
                f"conformance_worker:run_{self._importer}", case.name, case=case)
        except EdgekitError as error:
            return Outcome(case, "failed", error.message)
        except WorkerError as error:
            return Outcome(case, "failed", f"{error.kind}: {error.text}"[:300])
        return Outcome(case, status, message, tuple(baked))

    def close(self) -> None:
        """End the child."""
        self._box.close()


def run_all(cases: Sequence[Case], importer: str, jobs: int) -> list[Outcome]:
    """All tests, dealt out to so many children."""

    def work(share: Sequence[Case]) -> list[Outcome]:
        runner = Runner(importer)
        outcomes = []
        for position, case in enumerate(share):
            outcomes.append(runner.run(case))
            if sys.stderr.isatty():
                print(f"\r{position + 1}/{len(share)}", end="", file=sys.stderr)
        runner.close()
        return outcomes

    with ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(work, [cases[start::jobs] for start in range(jobs)])
        return [outcome for part in parts for outcome in part]


def summary(outcomes: Sequence[Outcome], rules: collections.Counter[str]) -> None:
    """The table."""
    left_out = sum(rules.values())
    for kind in dict.fromkeys(outcome.case.kind for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.case.kind == kind]
        passed = sum(outcome.status == "passed" for outcome in mine)
        baked = sum(bool(outcome.baked) for outcome in mine if outcome.status == "passed")
        print(f"{kind:18} {passed:5} passed  {len(mine) - passed:5} failed  "
              f"{passed / len(mine):6.1%}   ({baked} with an input made constant)")
    total = left_out + len(outcomes)
    print(f"excluded {left_out} of {total} ({left_out / total:.1%}):")
    for rule, count in rules.most_common():
        print(f"  {count:5}  {rule}")


def main() -> int:
    """Run the tests.

    Returns:
        0, or 3 when fewer than ``--at-least`` per cent pass.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--importer", choices=("edgekit", "onnx2tf"), default="edgekit")
    parser.add_argument("--only", default="", help="regular expression on names")
    parser.add_argument("--operators", default="", help="comma-separated: tests that use these")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="only each N-th test")
    parser.add_argument("--at-least", type=float, default=0.0, help="per cent")
    parser.add_argument("--json", help="write the outcomes here")
    parser.add_argument("-v", "--verbose", action="store_true", help="list what failed")
    options = parser.parse_args()
    rules: collections.Counter[str] = collections.Counter()
    cases = []
    wanted = set(options.operators.split(",")) if options.operators else None
    for case, rule in load_cases(options.kinds.split(",")):
        if case is None:
            rules[rule] += 1
        elif re.search(options.only, case.name) and (
                wanted is None or wanted & set(case.operators)):
            cases.append(case)
    outcomes = run_all(cases[::options.every], options.importer, options.jobs)
    if options.verbose:
        for outcome in sorted(outcomes, key=lambda o: o.case.name):
            if outcome.status != "passed":
                print(f"FAILED {outcome.case.name}: {outcome.message}")
    if options.json:
        rows = [{"name": o.case.name, "kind": o.case.kind, "status": o.status,
                 "message": o.message, "baked": list(o.baked)} for o in outcomes]
        Path(options.json).write_text(json.dumps(rows, indent=1))
    summary(outcomes, rules)
    passed = sum(outcome.status == "passed" for outcome in outcomes)
    return 0 if not outcomes or passed / len(outcomes) * 100 >= options.at_least else 3


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
