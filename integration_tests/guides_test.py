"""Every guide runs, on little data, and every guide is a notebook as well."""

import os
import pathlib
import subprocess
import sys

import make_notebooks
import nbformat
import pytest
import tutobook

ROOT = pathlib.Path(__file__).parents[1]
GUIDES = ROOT / "guides"

ALL = {guide.path.stem: guide for guide in tutobook.guides()}
# Those that are no notebooks take arguments. `many_devices` has a test of its
# own.
FOUND = {name: g for name, g in ALL.items() if not g.takes_arguments}
ARGUMENTS = {"quickstart": ["--out", "."]}
# `.ci/run` sets these for tests. A guide runs with all threads, as a user's
# does: some faults of an engine show only there.
THREADS = {
    "OMP_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
}


# `.ci/run` runs these apart from the other tests.
@pytest.mark.slow
@pytest.mark.parametrize("name", [*FOUND, "quickstart"])
def test_a_guide_runs(name, tmp_path):
    """As a user runs it, with the batches that it has, in few steps."""
    kept = {k: v for k, v in os.environ.items() if k not in THREADS}
    done = subprocess.run(
        [sys.executable, GUIDES / f"{name}.py", *ARGUMENTS.get(name, [])],
        cwd=tmp_path,
        env={**kept, "GUIDE_SMALL": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout and "nan" not in done.stdout
    assert (tmp_path / f"{name}.png").stat().st_size > 5_000


def test_there_are_guides():
    assert {"functional_models", "your_own_memory"} <= FOUND.keys()
    helpers = {"make_notebooks", "planted_facts", "tutobook"}
    assert not helpers & {guide.path.stem for guide in tutobook.guides()}


@pytest.mark.parametrize("name", FOUND)
def test_a_guide_shows_the_picture_that_it_draws(name):
    text = FOUND[name].path.read_text()
    assert f'savefig("{name}.png"' in text
    assert f"]({name}.png)" in text
    assert (GUIDES / f"{name}.png").exists()


def test_notebooks_hold_all_of_the_guides(tmp_path):
    done = subprocess.run(
        [sys.executable, GUIDES / "make_notebooks.py", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in tmp_path.glob("*.ipynb")} == FOUND.keys()
    for name, guide in FOUND.items():
        notebook = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        code = [c.source for c in notebook.cells if c.cell_type == "code"]
        prose = [c.source for c in notebook.cells if c.cell_type == "markdown"]
        compile("\n".join(code), name, "exec")
        assert guide.fields["Title"] in prose[0]
        # Line by line, nothing is lost and no code has become prose.
        script = guide.path.read_text().split('"""', 2)[2]
        kept = "\n".join(code + prose[1:])
        for line in tutobook.linked(script, "ipynb").splitlines():
            assert line in ("", '"""') or line in kept, line


def test_a_link_to_a_guide_leads_to_its_notebook():
    guide = tutobook.Guide(
        pathlib.Path("a.py"),
        {"Title": "A", "Description": "B"},
        [nbformat.v4.new_markdown_cell("See [this](other_guide.py).")],
    )
    cells = make_notebooks.as_notebook(guide).cells
    assert cells[1].source == "See [this](other_guide.ipynb)."


def test_links_to_guides_are_told_from_others():
    prose = "[a](b.py), [c](guides/d.py), [e](f/g.py), [h](https://i.org/j.py)"
    wanted = prose.replace("b.py", "b.md").replace("d.py", "d.md")
    assert tutobook.linked(prose, "md") == wanted


def test_a_guide_without_its_fields_is_refused(tmp_path):
    (tmp_path / "bad.py").write_text('"""\nTitle: Bad\n"""\n\nprint(1)\n')
    with pytest.raises(ValueError, match="bad.py lacks Author"):
        tutobook.guides(tmp_path)
