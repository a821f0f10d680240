"""Writes the guides as notebooks: `python guides/make_notebooks.py`.

They are made from the scripts, never edited, and not kept in the repository.
Each stands beside its script, whose helpers it imports. A guide that takes
arguments is a command, and stays one.
"""

import argparse
import pathlib

import nbformat
import tutobook
from nbformat import v4


def as_notebook(guide):
    """A guide as a notebook, with its title on top."""
    fields = guide.fields
    title = f"# {fields['Title']}\n\n{fields['Description']}"
    cells = [v4.new_markdown_cell(title)]
    for cell in guide.cells:
        if cell.cell_type == "markdown":
            prose = tutobook.linked(cell.source, "ipynb")
            cells.append(v4.new_markdown_cell(prose))
        else:
            cells.append(v4.new_code_cell(cell.source.strip()))
    for i, cell in enumerate(cells):
        cell.id = f"{guide.path.stem}-{i}".replace("_", "-")
    return v4.new_notebook(cells=cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=tutobook.FOLDER,
        help="the folder that they are written to",
    )
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for guide in tutobook.guides():
        if guide.takes_arguments:
            print(f"{guide.path.name} takes arguments: no notebook")
            continue
        path = out / f"{guide.path.stem}.ipynb"
        nbformat.write(as_notebook(guide), path)
        print(path)


if __name__ == "__main__":
    main()
