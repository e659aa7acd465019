"""The ONNX project's own tests, through ``tools/conformance``."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("kind", "at_least"), [
    ("node", 95), ("pytorch-converted", 95), ("pytorch-operator", 95), ("light", 95),
])  # fmt: skip
def test_the_onnx_projects_own_tests_pass(kind, at_least):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "conformance.py"), "--kinds", kind, "-v",
         "--at-least", str(at_least)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
