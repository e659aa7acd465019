"""The command line's promises: start-up, exit codes, what goes where."""

import json
import subprocess
import sys

import jsonschema
import pytest

from edgekit.cli import run

HEAVY = {"tensorflow", "keras", "tf_keras", "scipy", "torch", "onnx"}


def modules_after(code):
    """Names of the top-level modules that a fresh interpreter has loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('MODULES', *sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(row for row in done.stdout.splitlines() if row.startswith("MODULES"))
    return {name.partition(".")[0] for name in line.split()}


def test_help_loads_neither_numpy_nor_a_framework():
    loaded = modules_after("from edgekit.cli import run; run(['--help'])")
    assert not loaded & {*HEAVY, "numpy", "pydantic", "ai_edge_litert", "litert_quantizer"}


@pytest.mark.parametrize("command", ["['targets', 'list']", "['doctor']", "['build', '--help']"])
def test_commands_that_need_no_framework(command):
    assert not modules_after(f"from edgekit.cli import run; run({command})") & HEAVY


def test_inspecting_a_tflite_loads_no_tensorflow(pitch_tflite):
    code = f"from edgekit.cli import run; run(['inspect', {str(pitch_tflite)!r}])"
    assert not modules_after(code) & HEAVY


def test_tflite_to_int8_loads_no_tensorflow_in_either_process(pitch_tflite, tmp_path):
    code = (
        "from edgekit.cli import run\n"
        f"assert run(['build', {str(pitch_tflite)!r}, '-t', 'android', '-r', 'dynamic-int8', "
        f"'--report', 'none', '-q', '-o', {str(tmp_path)!r}]) == 0\n"
        "from edgekit.core.sandbox import sandbox\n"
        "box = sandbox()\n"
        "loaded = box.call('tests_modules:names', 'asking')\n"
    )
    (tmp_path / "tests_modules.py").write_text(
        "import sys\ndef names():\n    return sorted({m.partition('.')[0] for m in sys.modules})\n"
    )
    code = f"import os; os.environ['PYTHONPATH'] = {str(tmp_path)!r}\n" + code
    code += "assert 'tensorflow' not in loaded and 'litert_quantizer' in loaded, loaded"
    assert not modules_after(code) & HEAVY


def test_the_public_names_are_there_and_cost_nothing_to_import():
    assert "numpy" not in modules_after("import edgekit")
    import edgekit

    for name in edgekit.__all__:
        assert getattr(edgekit, name) is not None


def test_targets_list_and_show_and_validate(capsys):
    assert run(["targets", "list"]) == 0
    assert "raspberry-pi-4" in capsys.readouterr().out
    assert run(["targets", "show", "android"]) == 0
    assert "https://" in capsys.readouterr().out
    assert run(["targets", "validate", "android"]) == 0
    assert run(["targets", "show", "andriod"]) == 2
    assert "did you mean 'android'?" in capsys.readouterr().err


def test_validate_names_every_problem(tmp_path, capsys):
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\ntitle = "t"\nkind = "mcu"\n[runtime]\nengine = "tflm"\n'
        '[hardware]\ncpu = "m4"\ncores = 1\nclock_hz = 64000000\nram_bytes = 1024\n'
        '[accepts]\nprecisions = ["integer"]\ndtypes = ["int8"]\n'
        '[budget]\nram_bytes = 4096\n[recipe]\nwith_data = "static-int8"\n'
    )
    assert run(["targets", "validate", str(file)]) == 2
    said = capsys.readouterr().err
    assert "hardware.clock_hz has no [[source]]" in said
    assert "more than the hardware's" in said


def test_json_is_exactly_the_document(pitch_tflite, capsys):
    from pathlib import Path

    import edgekit.report

    assert run(["inspect", str(pitch_tflite), "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    schema = json.loads((Path(edgekit.report.__file__).parent / "schema-1.json").read_text())
    jsonschema.validate(document, schema)
    assert said.err == ""


def test_inspect_says_what_a_target_refuses(pitch_tflite, capsys):
    assert run(["inspect", str(pitch_tflite), "-t", "rp2040-pico"]) == 0
    said = capsys.readouterr().out
    assert "rp2040-pico would refuse" in said
    assert "a float model" in said


def test_init_writes_a_project_that_loads(pitch_tflite, tmp_path, monkeypatch, capsys):
    from edgekit.core.project import load_project

    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 2
    (tmp_path / "net.tflite").write_bytes(pitch_tflite.read_bytes())
    assert run(["init", "-t", "ios", "-t", "raspberry-pi-5"]) == 0
    project = load_project(tmp_path / "edgekit.toml")
    assert list(project.targets) == ["ios", "raspberry-pi-5"]
    assert run(["init"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert run(["init", "-y"]) == 0


def test_doctor_says_what_is_missing_and_how_to_get_it(monkeypatch, capsys):
    from edgekit import environment
    from edgekit.cli import doctor

    real = environment.installed
    monkeypatch.setattr(environment, "installed",
                        lambda name: None if name == "tensorflow" else real(name))
    monkeypatch.setattr(doctor, "examine", doctor.examine)
    assert run(["doctor"]) == 0
    assert "pip install 'tensorflow>=" in capsys.readouterr().out


def test_a_missing_extra_is_exit_4(monkeypatch, tmp_path, capsys):
    from edgekit.core import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    assert run(["build", str(tmp_path / "m.h5"), "-t", "android"]) == 4
    assert "pip install 'tensorflow>=" in capsys.readouterr().err


def test_compare_and_fail_on(pitch_tflite, tmp_path, capsys):
    for recipe in ("dynamic-int8", "float16"):
        assert run(["build", str(pitch_tflite), "-t", "android", "-r", recipe, "-q", "--device",
                    "none", "-o", str(tmp_path / recipe)]) == 0
    small, large = (str(tmp_path / r / "nmp" / "android") for r in ("dynamic-int8", "float16"))
    assert run(["compare", small, large]) == 0
    assert "deflate_bytes" in capsys.readouterr().out
    assert run(["compare", small, large, "--fail-on", "deflate_bytes:+5%"]) == 3
    assert run(["compare", small, large, "--fail-on", "deflate_bytes:+10MB"]) == 0
    assert run(["compare", small, large, "--fail-on", "no_such:+5%"]) == 2
    assert run(["compare", small, large, "--fail-on", "oops"]) == 2
    model = f"{large}/model.tflite"
    assert run(["check", model, "-t", "android", "--baseline", small,
                "--fail-on", "bytes:+1%", "-q"]) == 3


def test_ok_in_the_report_on_disk_knows_of_the_gates(pitch_tflite, tmp_path, capsys):
    common = ["build", str(pitch_tflite), "-t", "android", "-q", "--report", "none"]
    assert run([*common, "-r", "dynamic-int8", "-o", str(tmp_path / "base")]) == 0
    gate = ["--baseline", str(tmp_path / "base" / "nmp" / "android"), "--fail-on", "bytes:+1%"]
    assert run([*common, "-r", "float16", "-o", str(tmp_path / "new"), *gate]) == 3
    assert "regression: bytes went from" in capsys.readouterr().err
    report = json.loads((tmp_path / "new/nmp/android/report.json").read_text())
    assert report["ok"] is False
    # A gate on a number that is not there is a mistake, and leaves the bundle as it was.
    before = (tmp_path / "new/nmp/android/report.json").read_bytes()
    assert run([*common, "-r", "float16", "-o", str(tmp_path / "new"), *gate[:3], "byte:+1%"]) == 2
    assert "did you mean 'bytes'?" in capsys.readouterr().err
    assert (tmp_path / "new/nmp/android/report.json").read_bytes() == before


def test_check_and_profile_take_the_budgets_of_this_folder(pitch_tflite, tmp_path, monkeypatch,
                                                           capsys):
    monkeypatch.chdir(tmp_path)
    model = str(pitch_tflite)
    assert run(["check", model, "-t", "android"]) == 0
    (tmp_path / "edgekit.toml").write_text(
        f'[model]\npath = "{model}"\n[targets.android.budget]\ndownload_bytes = 20000\n')
    assert run(["check", model, "-t", "android"]) == 3
    assert "with what ./edgekit.toml says of it" in capsys.readouterr().err
    assert run(["profile", model, "-t", "android", "--device", "none", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert run(["check", model, "-t", "ios"]) == 0


def test_check_verifies_the_bundle(pitch_tflite, tmp_path, capsys):
    assert run(["build", str(pitch_tflite), "-t", "android", "-r", "float16", "-q", "--device",
                "none", "-o", str(tmp_path)]) == 0
    bundle = tmp_path / "nmp" / "android"
    assert run(["check", str(bundle), "-t", "android"]) == 0
    assert run(["check", str(tmp_path), "-t", "android"]) == 2
    raw = bytearray((bundle / "model.tflite").read_bytes())
    raw[-1] ^= 1
    (bundle / "model.tflite").write_bytes(raw)
    assert run(["check", str(bundle), "-t", "android"]) == 2
    assert "model.tflite" in capsys.readouterr().err


def test_missed_budget_is_exit_3_and_says_what_weighs_most(pitch_tflite, tmp_path, monkeypatch,
                                                            capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgekit.toml").write_text(
        f'[model]\npath = "{pitch_tflite}"\n[targets.android.budget]\ndownload_bytes = 20000\n'
    )
    assert run(["build", "-r", "dynamic-int8", "--device", "none"]) == 3
    said = capsys.readouterr().out
    assert "FAIL" in said
    report = json.loads((tmp_path / "dist/nmp/android/report.json").read_text())
    row = next(r for r in report["budgets"] if r["name"] == "download_bytes")
    assert (row["status"], len(row["heaviest"]), report["ok"]) == ("fail", 3, False)
    assert all(name.split("/")[-1][:20] in said.replace("\n", "") or name for name in
               row["heaviest"])


def test_strict_and_accept_estimates(pitch_tflite, tmp_path):
    common = ["build", str(pitch_tflite), "-t", "android", "-r", "float16", "-q", "--device",
              "none", "-o", str(tmp_path)]
    assert run(common) == 0
    assert run([*common, "--strict"]) == 3


def test_two_targets_share_their_steps_and_two_builds_are_equal(pitch_tflite, tmp_path):
    for place in ("a", "b"):
        assert run(["build", str(pitch_tflite), "-t", "android", "-t", "ios", "-r",
                    "dynamic-int8", "-q", "--report", "none", "-o", str(tmp_path / place)]) == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*")
                   if p.is_file() and not p.name.startswith("report."))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_quantized_model_is_packaged_and_not_quantized_twice(emotion_tflite, tmp_path, capsys):
    assert run(["build", str(emotion_tflite), "-t", "android", "-q", "--device", "none", "-o",
                str(tmp_path)]) == 0
    report = json.loads(next(tmp_path.rglob("report.json")).read_text())
    assert [stage["name"] for stage in report["stages"]] == ["import", "strip"]
    assert run(["build", str(emotion_tflite), "-t", "android", "-r", "dynamic-int8", "-o",
                str(tmp_path)]) == 2
    assert "quantized already" in capsys.readouterr().err


def test_no_module_hides_a_public_name():
    """Importing edgekit.NAME would replace the function NAME by the module."""
    from pathlib import Path

    import edgekit

    modules = {path.stem for path in Path(edgekit.__file__).parent.iterdir()}
    assert not modules & set(edgekit.__all__)
