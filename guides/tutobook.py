"""Reads guides: scripts whose prose stands in string blocks, as on keras.io.

A guide begins with a block of fields, `Title: ...` and so on. What follows is
Markdown in string blocks, and code.
"""

import pathlib
import re
from typing import NamedTuple

import jupytext

FOLDER = pathlib.Path(__file__).parent
FIELDS = ("Title", "Author", "Date created", "Last modified", "Description")


class Guide(NamedTuple):
    """A guide, taken apart.

    `fields`: title, description and so on, by name. `cells`: those of a
    notebook, without the fields.
    """

    path: pathlib.Path
    fields: dict
    cells: list

    @property
    def takes_arguments(self):
        """Whether it is a command, which a notebook cannot be."""
        return any("argparse" in cell.source for cell in self.cells)


def guides(folder=FOLDER):
    """All guides of a folder; scripts that only help them are none."""
    found = sorted(folder.glob("*.py"))
    return [
        read(path) for path in found if path.read_text().startswith('"""\nTit')
    ]


def read(path):
    """The guide in a file."""
    notebook = jupytext.reads(path.read_text(), fmt="py:sphinx")
    # The first is jupytext's own, about matplotlib.
    header, *cells = notebook.cells[1:]
    joined = re.sub(r"\n\s+", " ", header.source)
    fields = dict(line.split(": ", 1) for line in joined.splitlines())
    if missing := [name for name in FIELDS if name not in fields]:
        raise ValueError(
            f"A guide begins with the fields {', '.join(FIELDS)}. "
            f"{path.name} lacks {', '.join(missing)}."
        )
    return Guide(path, fields, cells)


def linked(prose, suffix):
    """Prose with its links to guides led to files with another suffix."""
    return re.sub(r"\(((guides/)?\w+)\.py\)", rf"(\1.{suffix})", prose)
