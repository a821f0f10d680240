"""README's own code runs, from top to bottom, as a newcomer would paste it."""

import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"


@pytest.mark.slow_on("jax", "tensorflow")
def test_python_blocks_run(tmp_path):
    blocks = re.findall(
        r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL
    )
    assert len(blocks) >= 2
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shape = re.search(r"# (\(1, 64, 256\))", blocks[0])
    assert shape and shape[1] in done.stdout


def test_it_needs_what_the_package_says_it_needs():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (keras,) = (
        needed.removeprefix("keras>=")
        for needed in package["dependencies"]
        if needed.startswith("keras")
    )
    python = package["requires-python"].removeprefix(">=")
    text = README.read_text()
    assert f"| Python | {python} or later |" in text
    assert f"| Keras | {keras} or later |" in text
    assert f"Python {python} or later and Keras {keras} or later." in text
