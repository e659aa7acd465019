"""What a new user gets wrong: one clear message, the right exit status, nothing half-written."""

import builtins
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli import run

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(work, capsys):
    """Run a command line: exit status and what stderr said."""

    def call(*arguments):
        status = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.err

    return call


def leftovers(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_a_model_that_is_not_there(cli, work):
    status, said = cli("build", "none.tflite", "-t", "android")
    assert (status, leftovers(work)) == (2, [])
    assert "none.tflite does not exist" in said


def test_everything_that_is_wrong_is_said_at_once(cli, work):
    status, said = cli("build", "none.tflite", "-t", "andriod", "-d", "none.npz")
    assert status == 2
    assert "3 problems, nothing was started" in said
    assert "did you mean 'android'?" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\0" * 4, "not a TFLite model"),
        (os.urandom(5000), "not a TFLite model"),
        (b"\x1c\0\0\0TFL3" + bytes(range(256)) * 20, "damaged"),
        (b"\xff\xff\xff\x7fTFL3" + b"\xff" * 500, "damaged"),
    ],
)
def test_files_that_are_no_models(cli, work, content, said):
    (work / "bad.tflite").write_bytes(content)
    for command in (["build", "bad.tflite", "-t", "android"], ["inspect", "bad.tflite"],
                    ["profile", "bad.tflite"], ["check", "bad.tflite", "-t", "android"]):
        status, message = cli(*command)
        assert (status, said in message) == (2, True), message
    assert leftovers(work) == ["bad.tflite"]


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.95])
def test_truncated_models(cli, work, pitch_tflite, kept):
    whole = pitch_tflite.read_bytes()
    (work / "cut.tflite").write_bytes(whole[: int(len(whole) * kept)])
    status, _ = cli("build", "cut.tflite", "-t", "android")
    assert (status, leftovers(work)) == (2, ["cut.tflite"])


def test_flipped_bytes_never_crash(cli, work, emotion_tflite):
    """Fuzzing a real file: an error or a verdict, never a crash or a bug report."""
    whole = emotion_tflite.read_bytes()
    generator = np.random.default_rng(7)
    for number in range(30):
        raw = bytearray(whole)
        for place in generator.integers(0, len(raw), 12):
            raw[place] = generator.integers(0, 256)
        (work / "odd.tflite").write_bytes(raw)
        status, said = cli("check", "odd.tflite", "-t", "android")
        assert status in (0, 2, 3), (number, said)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((2, 43844), np.float32)}, "has shape"),
        ({"x": np.zeros((2, 43844, 1), np.uint8)}, "is uint8"),
        ({"z": np.zeros((2, 43844, 1), np.float32)}, "no array 'x'"),
        ({"x": np.zeros((0, 43844, 1), np.float32)}, "no samples"),
        ({"x": np.full((2, 43844, 1), np.nan, np.float32)}, "NaN"),
        ({"x": np.array([{}], object)}, "pickled"),
    ],
)
def test_data_that_does_not_fit(cli, work, pitch_tflite, arrays, said):
    save(work / "d.npz", **arrays)
    status, message = cli("build", pitch_tflite, "-t", "android", "-d", "d.npz")
    assert (status, said in message) == (2, True), message
    assert leftovers(work) == ["d.npz"]


def test_microcontrollers_need_data(cli, pitch_tflite):
    status, said = cli("build", pitch_tflite, "-t", "rp2040-pico")
    assert status == 2
    assert "needs calibration data" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[model]\npath = "m.tflite"\nlabls = "x"\n', "did you mean 'labels'?"),
        ('[model]\npath = "m.tflite"\n[recipe]\nsed = 1\n', "did you mean 'seed'?"),
        ('[model]\npath = "m.tflite"\n[targets.android]\nbugdet = {}\n', "did you mean 'budget'?"),
        ('[model\n', "cannot be read as TOML"),
        ('[model]\npath = "m.tflite"\n[targets.android.budget]\nram = 1\n', "unknown key 'ram'"),
    ],
)
def test_unknown_keys_in_the_project(cli, work, text, said):
    (work / "edgekit.toml").write_text(text)
    status, message = cli("build")
    assert (status, said in message) == (2, True), message


def test_no_model_and_no_project(cli):
    status, said = cli("build")
    assert status == 2
    assert "edgekit init" in said


def test_a_target_file_with_an_unknown_key(cli, work, pitch_tflite):
    text = (ROOT / "targets" / "android.toml").read_text().replace("[budget]", "[budgett]")
    (work / "mine.toml").write_text(text)
    status, said = cli("build", pitch_tflite, "-t", "mine.toml")
    assert status == 2
    assert "unknown key 'budgett'" in said


def test_an_output_place_that_is_a_file(cli, work, pitch_tflite):
    (work / "dist").write_text("mine")
    status, said = cli("build", pitch_tflite, "-t", "android")
    assert (status, (work / "dist").read_text()) == (2, "mine")
    assert "is a file" in said


def test_an_unwritable_output_place(cli, work, pitch_tflite):
    # Root may write anywhere but here.
    status, said = cli("build", pitch_tflite, "-t", "android", "-o", "/proc/edgekit",
                       "--report", "none")
    assert status == 2
    assert "cannot write" in said


def test_a_full_disk_leaves_the_earlier_bundle(work, pitch_tflite):
    """A real full disk: a file size limit makes every larger write fail with an OSError."""
    command = [sys.executable, "-m", "edgekit", "build", str(pitch_tflite), "-t", "android",
               "-r", "float32", "--report", "none", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment, cwd=work)
    before = {path: path.read_bytes() for path in (work / "dist").rglob("*") if path.is_file()}
    code = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
            "from edgekit.cli import run; sys.exit(run(sys.argv[1:]))")
    done = subprocess.run([sys.executable, "-c", code, *command[3:]], env=environment, cwd=work,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    after = {path: path.read_bytes() for path in (work / "dist").rglob("*") if path.is_file()}
    assert after == before
    assert [p.name for p in (work / "dist" / "nmp").iterdir()] == ["android"]


def read_terminal_until(master, words):
    """What a terminal shows, up to these words; all of it when they never come."""
    shown = b""
    while words not in shown:
        try:
            shown += os.read(master, 4096)
        except OSError:  # the other end is closed: the process is gone
            break
    return shown


@pytest.mark.parametrize("moment", [b"starting", b"profiling"])
def test_ctrl_c_in_the_middle_leaves_the_earlier_bundle(work, pitch_tflite, moment):
    """At a moment that the terminal shows, not after some seconds: machines differ."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-m", "edgekit", "build", str(pitch_tflite), "-t", "android"]
    subprocess.run([*command, "-q", "--report", "none"], check=True, env=environment, cwd=work)
    kept = (work / "dist" / "nmp" / "android" / "manifest.json").read_bytes()
    master, slave = pty.openpty()
    process = subprocess.Popen(command, env=environment, cwd=work, stderr=slave,
                               stdout=subprocess.DEVNULL)
    os.close(slave)
    shown = read_terminal_until(master, moment)
    assert moment in shown
    process.send_signal(signal.SIGINT)
    shown += read_terminal_until(master, b"nothing half-written was left behind")
    assert process.wait(timeout=60) == 130, shown
    os.close(master)
    assert b"nothing half-written was left behind" in shown
    assert b"Traceback" not in shown
    assert [p.name for p in (work / "dist" / "nmp").iterdir()] == ["android"]
    assert (work / "dist" / "nmp" / "android" / "manifest.json").read_bytes() == kept


def test_ctrl_c_while_the_command_line_is_imported(monkeypatch, capsys):
    """The signal arrives before there is a command: the same status, no traceback."""
    from edgekit import __main__ as entry

    original = builtins.__import__

    def interrupted(name, *rest):
        if name == "edgekit.cli":
            raise KeyboardInterrupt
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    monkeypatch.undo()
    assert (ended.value.code, capsys.readouterr().err) == (130, "\ninterrupted\n")


def test_a_ctrl_c_that_somebody_swallowed_is_not_lost(tmp_path):
    code = """
import os, signal, sys
from edgekit.core import interrupt
from edgekit.core.files import folder_written_whole
from pathlib import Path
interrupt.remember()
interrupt.check()
try:
    with folder_written_whole(Path(sys.argv[1])) as folder:
        (folder / "file").write_text("x")
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            pass  # as some imports do
except KeyboardInterrupt:
    sys.exit(130)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "bundle")], check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, list(tmp_path.iterdir())) == (130, [])


def test_usage_errors_are_2(cli):
    assert cli("bild")[0] == 2
    assert cli("build", "--no-such-option")[0] == 2
    assert cli("build", "x.tflite", "-t", "android", "--threads", "0")[0] == 2
    assert cli("build", "x.tflite", "-t", "android", "--input-shape", "oops")[0] == 2
