"""One device or many: the same losses."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = str(ROOT / "guides" / "many_devices.py")
BACKEND = keras.backend.backend()
PYTHON = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
SEGMENTS = ["--segment-length", "32"]
# How to start the script on many devices, and its arguments there and on one.
WAYS = {
    "jax": [
        pytest.param(
            [*PYTHON, SCRIPT, "--devices", "8"], [], marks=pytest.mark.slow
        ),
        ([*PYTHON, SCRIPT, "--devices", "8", "--model-parallel", "2"], []),
        pytest.param(
            [*PYTHON, SCRIPT, "--devices", "8"],
            SEGMENTS,
            marks=pytest.mark.slow,
        ),
    ],
    "tensorflow": [
        ([*PYTHON, SCRIPT, "--devices", "2"], []),
        ([*PYTHON, SCRIPT, "--devices", "2"], SEGMENTS),
    ],
    "torch": [
        pytest.param(
            [*TORCHRUN, "--nproc-per-node", "2", SCRIPT],
            [],
            marks=pytest.mark.slow,
        )
    ],
}


def losses_of(command):
    done = subprocess.run(
        command,
        env={**os.environ, "GUIDE_SMALL": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout.splitlines()[-1])["losses"])


@functools.cache
def losses_on_one(*arguments):
    losses = losses_of([*PYTHON, SCRIPT, *arguments])
    assert losses[-1] < 0.8 * losses[0]
    return losses


@pytest.mark.parametrize(
    ("many", "arguments"),
    WAYS[BACKEND],
    ids=lambda words: "".join(words[-1:])[-12:],
)
def test_same_losses(many, arguments):
    np.testing.assert_allclose(
        losses_of([*many, *arguments]), losses_on_one(*arguments), rtol=1e-4
    )
