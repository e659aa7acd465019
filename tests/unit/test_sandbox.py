"""The child process: what crashes there is an error message here."""

import os
import signal
import time

import pytest

from edgekit.core.errors import EdgekitError, GuardError, RuntimeCrashError
from edgekit.core.sandbox import Sandbox, WorkerError


@pytest.fixture(scope="module")
def box():
    made = Sandbox()
    yield made
    made.close()


def test_calls_a_function_and_keeps_its_process(box):
    assert box.call("os:getpid", "asking") == box.call("os:getpid", "asking") != os.getpid()


def test_exceptions_travel_with_their_traceback(box):
    with pytest.raises(WorkerError, match="FileNotFoundError") as error:
        box.call("os:chdir", "moving", path="/nowhere/at/all")
    assert error.value.kind == "FileNotFoundError"
    assert "Traceback" in error.value.traceback


def test_a_crash_is_a_message_and_the_next_call_works(box):
    with pytest.raises(RuntimeCrashError, match=r"crashed \(SIGABRT\) while trying") as error:
        box.call("os:abort", "trying")
    assert error.value.exit_code == 2
    assert box.call("os:getpid", "asking") > 0


def test_scratch_is_gone_after_close():
    made = Sandbox()
    path = made.new_path(".bin")
    assert path.exists()
    pid = made.call("os:getpid", "asking")
    made.close()
    assert not path.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_interrupt_in_the_middle_leaves_a_usable_sandbox(box):
    before = box.call("os:getpid", "asking")

    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            box.call("signal:pause", "waiting")
    finally:
        signal.signal(signal.SIGALRM, old)
    assert time.monotonic() - began < 10
    assert box.call("os:getpid", "asking") != before


def test_edgekit_errors_keep_their_kind_and_fields(box, tmp_path):
    with pytest.raises(EdgekitError, match="does not exist"):
        box.call("edgekit.core._runtime_worker:allocate", "loading",
                 path=str(tmp_path / "none.tflite"))
    error = GuardError("what", "hint")
    import pickle

    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.hint, again.exit_code) == (
        GuardError, "what", "hint", 2)
