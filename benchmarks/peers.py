"""A virtual environment of its own for each package we compare with."""

import os
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
CONSTRAINTS = os.path.join(os.path.dirname(HERE), "constraints-cpu.txt")


def peer_python(requirement, given=None, beside=()):
    """An interpreter that has `requirement`, such as "titans-pytorch==0.5.5".

    Args:
        requirement: What to install, with its version.
        given: An interpreter that has it already; returned as it is.
        beside: What else to install where the environment is made.

    Returns:
        The path of the interpreter. It is made under `benchmarks/.peers` at
        the first call and found there by later ones.
    """
    if given:
        return given
    place = os.path.join(HERE, ".peers", requirement.replace("==", "-"))
    folder = "Scripts" if os.name == "nt" else "bin"
    python = os.path.join(place, folder, "python")
    ready = os.path.join(place, "ready")
    if not os.path.exists(ready):
        print(f"making an environment for {requirement}", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", requirement]
        command += beside
        if os.path.exists(CONSTRAINTS):
            command += ["-c", CONSTRAINTS]
        subprocess.run(command, check=True)
        open(ready, "w", encoding="ascii").close()
    return python
