"""The parts of the plugin for feedback, by Node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest


def test_the_parts_of_the_plugin_do_what_they_say() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    tests = Path(__file__).with_name("feedback_plugin.test.mjs")
    done = subprocess.run([node, "--test", str(tests)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "# pass 0" not in done.stdout
