"""What is checked of a PyTorch file before torch reads it. Plain Python.

Loading one is not safe by itself: weights may be pickles, and ``torch.export.load`` evaluates text
from the archive: it looks operators up by their path below ``torch`` and calls them, gives symbolic
sizes to sympy, which evaluates them, and puts names into the source code that it generates. So the
archive is held to a list of what a program needs.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from edgekit.core.errors import EdgekitError
from edgekit.importers._archive import MAX_BYTES, ZIP_MARK, check_members

Kind = Literal["program", "script", "old program", "pickle"]

_PICKLE_MARK = b"\x80"
_MAX_JSON_BYTES = 256 * 2**20
_MOST_NAMED = 8

AS_PROGRAM = ("save the program instead: torch.export.save(torch.export.export(module.eval(), "
              "example_inputs), 'model.pt2')")  # fmt: skip
AS_FUNCTION = ("give a function that makes the module, loads the weights and returns (module, "
               "example_inputs), as module.py:function")  # fmt: skip

# Folders of a .pt2 archive, below its first folder.
_FOLDERS = ("models/", "data/weights/", "data/constants/", "data/sample_inputs/", "extra/",
            ".data/")  # fmt: skip
_FILES = ("archive_format", "archive_version", "byteorder", "version", ".format_version",
          ".storage_alignment")  # fmt: skip

_NAMESPACES = ("aten", "prims", "quantized_decomposed", "torchvision")
_HIGHER = ("cond", "while_loop", "scan", "associative_scan", "wrap_with_set_grad_enabled",
           "wrap_with_autocast")  # fmt: skip
_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "abs",
               "and_", "or_", "xor", "not_", "eq", "ne", "lt", "le", "gt", "ge", "lshift",
               "rshift", "getitem")  # fmt: skip
_OPERATOR = re.compile(
    rf"torch\.ops\.({'|'.join(_NAMESPACES)})\.(?!from_file)(?!__)\w+(\.(?!__)\w+)?"
    r"|torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__(\.\w+)?"
    rf"|torch\.ops\.higher_order\.({'|'.join(_HIGHER)})"
    rf"|_operator\.({'|'.join(_ARITHMETIC)})"
    r"|torch\.sym_(int|float|max|min|not|sum|ite)|torch\._sym_sqrt|math\.(ceil|floor|trunc|sqrt)")
_SIZE_WORDS = frozenset({
    "FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt",
    "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv",
    "IntTrueDiv", "IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt", "RoundToInt",
    "RoundDecimal", "ToFloat", "Identity", "Max", "Min", "Pow", "And", "Or", "Not", "Eq", "Ne",
    "Lt", "Le", "Gt", "Ge", "True", "False", "Piecewise", "Abs", "Symbol", "Integer", "Rational",
    "Float", "Add", "Mul", "positive", "negative", "nonnegative", "integer", "real", "finite",
    "precision",
})  # fmt: skip
_SYMBOL = re.compile(r"(s|u|zf|zuf|z)\d+")
_QUOTED = re.compile(r"'((?:s|u|zf|zuf|z)\d+|[-+\d.e]+)'")
_SIZE = re.compile(r"[\w\s+\-*/%(),.<>=!&|~]*")
_NAME = re.compile(r"[\w.]*")
_UNSAFE_IN_PATHS = re.compile(r"[()=;\n\\'\"]")
_UNSAFE_IN_SPECS = re.compile(r"[()=;\n']|\\(?![\"\\])|default_factory|__enum__")
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")


def kind_of(path: Path) -> Kind:
    """What a file is, from its first bytes and the names in it.

    Raises:
        EdgekitError: It is empty, too large, damaged, unsafe to unpack, or not from PyTorch.
    """
    size = path.stat().st_size
    if size == 0:
        raise EdgekitError(f"{path} is empty")
    if size > MAX_BYTES:
        raise EdgekitError(f"{path} is larger than {MAX_BYTES >> 30} GB; what it converts to "
                           "cannot be", "save it without its optimizer")
    with path.open("rb") as file:
        mark = file.read(len(ZIP_MARK))
    if mark[:1] == _PICKLE_MARK:
        return "pickle"
    if mark != ZIP_MARK:
        raise EdgekitError(f"{path} is damaged, or not from PyTorch: it is neither a zip archive "
                           "nor a pickle", "save or copy it again")
    with _opened(path) as archive:
        return _kind_of_archive(path, check_members(path, archive))


def _kind_of_archive(path: Path, names: frozenset[str]) -> Kind:
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner:
        return "program"
    if any(name.startswith("code/") for name in inner):
        return "script"
    if "serialized_exported_program.json" in names:
        return "old program"
    if "data.pkl" in inner:
        return "pickle"
    raise EdgekitError(f"{path} is a zip archive, but not one that PyTorch wrote", AS_PROGRAM)


def check_program(path: Path) -> None:
    """Hold a ``.pt2`` archive to what a program needs.

    Raises:
        EdgekitError: Compiled code, pickles, objects, operators from outside of PyTorch, or text
            that would be evaluated.
    """
    with _opened(path) as archive:
        models = []
        for name in sorted(archive.namelist()):
            inner = name.partition("/")[2]
            if inner not in _FILES and not inner.startswith(_FOLDERS):
                raise _unsafe(path, f"'{inner}', which no exported program needs")
            if inner.startswith("models/"):
                models.append(name)
            if inner.endswith("_config.json"):
                _check_payloads(path, _read_json(path, archive, name))
        if len(models) != 1:
            raise EdgekitError(f"{path} holds {len(models)} programs; one is read", AS_PROGRAM)
        _check_graph(path, _read_json(path, archive, models[0]))


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise EdgekitError(f"{path} is damaged: {error}", "save or copy it again") from error


def _read_json(path: Path, archive: zipfile.ZipFile, name: str) -> Any:  # noqa: ANN401
    if archive.getinfo(name).file_size > _MAX_JSON_BYTES:
        raise EdgekitError(f"{path}: {name} is larger than {_MAX_JSON_BYTES >> 20} MB, which no "
                           "model needs")
    try:
        return json.loads(archive.read(name))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError,
            RecursionError) as error:
        raise EdgekitError(f"{path} is damaged: {name} cannot be read: {error}",
                           "save or copy it again") from error


def _check_payloads(path: Path, config: Any) -> None:  # noqa: ANN401
    for key, value in _fields(config):
        if key == "use_pickle" and value is not False:
            raise _unsafe(path, "a weight or constant as a pickle")
        if key == "path_name" and not _PAYLOAD.fullmatch(str(value)):
            raise _unsafe(path, f"the object '{value}', which is no tensor")


def _check_graph(path: Path, program: Any) -> None:  # noqa: ANN401
    foreign: dict[str, None] = {}
    for key, value in _fields(program):
        if key in ("target", "as_operator") and not _OPERATOR.fullmatch(str(value)):
            foreign[str(value)] = None
        elif key == "expr_str" and not _is_size(str(value)):
            raise _unsafe(path, f"'{value}' as the size of an axis")
        elif key in ("in_spec", "out_spec"):
            if _UNSAFE_IN_SPECS.search(str(value)):
                raise _unsafe(path, f"'{value}' as the structure of its inputs or outputs")
        elif (key in ("name", "as_name") and not _NAME.fullmatch(str(value))) or (
                key.endswith("_name") and _UNSAFE_IN_PATHS.search(str(value))):
            raise _unsafe(path, f"'{value}' as a name")
    if foreign:
        shown = ", ".join(list(foreign)[:_MOST_NAMED])
        more = f" and {len(foreign) - _MOST_NAMED} more" if len(foreign) > _MOST_NAMED else ""
        raise EdgekitError(f"{path} uses operators that are not PyTorch's own, or not safe to run "
                           f"from a file: {shown}{more}",
                           "write them in terms of PyTorch's own operators before the export")


def _is_size(text: str) -> bool:
    text = _QUOTED.sub(r"\1", text)
    words = re.findall(r"[^\W\d]\w*", text)
    return (_SIZE.fullmatch(text) is not None and re.search(r"\.\s*[^\W\d]", text) is None
            and all(word in _SIZE_WORDS or _SYMBOL.fullmatch(word) for word in words))


def _fields(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Every key with its value, at any depth; a metadata's text is never evaluated."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            for key, inner in item.items():
                if key != "metadata":
                    yield key, inner
                    waiting.append(inner)
        elif isinstance(item, list):
            waiting.extend(item)


def _unsafe(path: Path, what: str) -> EdgekitError:
    return EdgekitError(f"{path} is not safe to load: it has {what}", AS_PROGRAM)
