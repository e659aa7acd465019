"""One child process that runs other people's models, so that a crash there is a message here.

Native kernels, quantizers and converters have been seen to abort or segfault on odd input. They
run in a child that stays alive between calls: its imports (0.6 s for the quantizer, 7 s for
TensorFlow) are paid once. Requests and answers are pickles over two private pipes; the child is
this program's own, with the same rights: it contains crashes, not attackers.
"""

import atexit
import contextlib
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgekit.core import interrupt, patience
from edgekit.core.errors import EdgekitError, RuntimeCrashError
from edgekit.core.files import is_out_of_space, unwritable

if TYPE_CHECKING:  # the sandbox starts before anything heavy is imported
    from edgekit.core.graph import Buffer
    from edgekit.core.model import Model

_LENGTH = struct.Struct("<Q")
_LOG_TAIL_LINES = 12


class WorkerError(Exception):
    """An exception in the child that is not an ``EdgekitError``: type, text and traceback."""

    def __init__(self, kind: str, text: str, traceback: str) -> None:
        super().__init__(kind, text, traceback)
        self.kind = kind
        self.text = text
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Sandbox:
    """A child process that calls functions by name.

    Use ``sandbox()`` for the process-wide one; a second instance makes sense only where two
    frameworks must not meet in one process.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._to_child: BinaryIO | None = None
        self._from_child: BinaryIO | None = None
        self._scratch: Path | None = None
        # By the identity of the bytes, which are kept so that it stays theirs: hashing 90 MB to
        # find a file again would cost as much as writing it.
        self._paths: dict[int, tuple[Buffer, Path]] = {}

    @property
    def scratch(self) -> Path:
        """A private folder that lives as long as the sandbox."""
        if self._scratch is None:
            try:
                self._scratch = Path(tempfile.mkdtemp(prefix="edgekit-"))
            except OSError as error:
                raise unwritable(Path(tempfile.gettempdir()), error) from error
        return self._scratch

    def path_of(self, model: "Model") -> Path:
        """A file with the model's bytes that the child can map.

        Raises:
            EdgekitError: The temporary folder cannot be written.
        """
        known = self._paths.get(id(model.data))
        if known is not None and known[1].exists():
            return known[1]
        path = self.new_path(".tflite")
        try:
            path.write_bytes(model.data)
        except OSError as error:
            raise unwritable(path, error) from error
        self._paths[id(model.data)] = (model.data, path)
        return path

    def adopt(self, model: "Model", path: Path) -> "Model":
        """Remember that a file holds the model's bytes, so that they are not written again."""
        self._paths[id(model.data)] = (model.data, path)
        return model

    def new_path(self, suffix: str) -> Path:
        """A fresh name in the scratch folder for a file that the child is going to write."""
        handle, name = tempfile.mkstemp(suffix=suffix, dir=self.scratch)
        os.close(handle)
        return Path(name)

    def start(self, *modules: str) -> None:
        """Start the child and let it import modules while the parent goes on."""
        self._ensure_started()
        if modules:
            self._send(("import", modules))

    def call(self, function: str, what: str, /, **arguments: Any) -> Any:  # noqa: ANN401
        """Call ``function`` ("package.module:name") in the child.

        Args:
            function: Where the function is.
            what: What it does, for the message when the child dies: "quantizing net.tflite".
            arguments: Its keyword arguments; picklable.

        Returns:
            What the function returned.

        Raises:
            EdgekitError: As raised by the function; or it ran a model on made-up inputs for too
                long, see ``edgekit.core.patience``.
            RuntimeCrashError: The child died.
            WorkerError: The function raised something else.
        """
        interrupt.check()
        self._ensure_started()
        try:
            self._send(("call", (function, arguments)))
            status, payload = self._receive()
        except (EOFError, BrokenPipeError) as error:
            raise self._crash(what) from error
        except BaseException:  # Ctrl-C in the middle: the pipes are out of step from here on
            self.close_child()
            raise
        if status == "ok":
            return payload
        raise payload

    def close_child(self) -> None:
        """End the child; the next call starts another."""
        child, self._child = self._child, None
        for pipe in (self._to_child, self._from_child):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            child.wait()

    def close(self) -> None:
        """End the child and remove the scratch folder."""
        self.close_child()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
            self._paths.clear()

    @property
    def _log_path(self) -> Path:
        return self.scratch / "child.log"

    def _ensure_started(self) -> None:
        if self._child is not None and self._child.poll() is None:
            return
        self.close_child()
        request_read, request_write = os.pipe()
        answer_read, answer_write = os.pipe()
        code = f"from edgekit.core.sandbox import serve; serve({request_read}, {answer_write})"
        with self._log_path.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=(request_read, answer_write),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=_child_environment(),
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )  # fmt: skip
        os.close(request_read)
        os.close(answer_write)
        self._to_child = os.fdopen(request_write, "wb")
        self._from_child = os.fdopen(answer_read, "rb")

    def _send(self, request: object) -> None:
        assert self._to_child is not None
        _write_frame(self._to_child, request)

    def _receive(self) -> tuple[str, Any]:
        assert self._from_child is not None
        answer: tuple[str, Any] = _read_frame(self._from_child)
        return answer

    def _crash(self, what: str) -> EdgekitError:
        child = self._child
        status = child.wait() if child is not None else 0
        self.close_child()
        if status == -patience.SIGNAL:
            return patience.endless(what)
        cause = f"exit {status}"
        if status < 0:
            cause = signal.Signals(-status).name
        return RuntimeCrashError(
            f"the runtime crashed ({cause}) while {what}", _log_tail(self._log_path)
        )


def _log_tail(path: Path) -> str:
    """The last words of the child, as a hint."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()[-_LOG_TAIL_LINES:]
    except OSError:
        return ""
    words = [line.strip() for line in lines if line.strip() and "XNNPACK delegate" not in line]
    return "its last words: " + " | ".join(words) if words else "it left no message"


def _child_environment() -> dict[str, str]:
    import edgekit

    home = str(Path(edgekit.__file__).parent.parent)
    paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",  # the same sums on every CPU type, and no banner
        "CUDA_VISIBLE_DEVICES": "-1",  # conversion is not worth a GPU's start-up
        "KERAS_BACKEND": "tensorflow",
    }


def _write_frame(pipe: BinaryIO, value: object) -> None:
    payload = pickle.dumps(value, protocol=5)
    pipe.write(_LENGTH.pack(len(payload)))
    pipe.write(payload)
    pipe.flush()


def _read_frame(pipe: BinaryIO) -> Any:  # noqa: ANN401
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    payload = pipe.read(length)
    if len(payload) < length:
        raise EOFError
    return pickle.loads(payload)  # noqa: S301 - from our own child, see the module's docstring


def serve(request_fd: int, answer_fd: int) -> None:
    """The child's main loop: read a request, call, answer, until the parent closes the pipe."""
    with os.fdopen(request_fd, "rb") as requests, os.fdopen(answer_fd, "wb") as answers:
        while True:
            try:
                kind, payload = _read_frame(requests)
            except EOFError:
                return
            if kind == "import":
                for module in payload:
                    with contextlib.suppress(Exception):  # the call that needs it will say so
                        import_module(module)
                continue
            _write_frame(answers, _answer(*payload))


def _answer(function: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    import traceback

    module, _, name = function.partition(":")
    try:
        return "ok", getattr(import_module(module), name)(**arguments)
    except EdgekitError as error:
        return "error", _portable(error)
    except OSError as error:
        if not is_out_of_space(error):
            return "error", WorkerError(type(error).__name__, str(error), traceback.format_exc())
        return "error", _portable(unwritable(Path(tempfile.gettempdir()), error))
    except Exception as error:  # noqa: BLE001 - everything travels to the parent
        return "error", WorkerError(type(error).__name__, str(error), traceback.format_exc())
    finally:
        patience.stop()


def _portable(error: EdgekitError) -> EdgekitError:
    """The same error without its cause, which may not survive pickling."""
    error.__cause__ = error.__context__ = None
    return error


def map_file(path: Path) -> memoryview:
    """A file's bytes, mapped: shared with the child and paged in on demand.

    Raises:
        EdgekitError: The file cannot be read.
    """
    import mmap

    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise EdgekitError(f"cannot read {path}: {error}") from error


@cache
def sandbox() -> Sandbox:
    """The process-wide sandbox; its child starts with the first call."""
    instance = Sandbox()
    atexit.register(instance.close)
    return instance
