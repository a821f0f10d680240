"""Pages that are made at each build from what stands elsewhere.

The home page is the README, guides come from their scripts, tables and plots
from `benchmarks/`, and the reference from each module's `__all__`. They
have the places on the site that they have in the repository, so that a link
means the same in both.
"""

import pathlib
import re
import sys

import reference
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
GUIDES, BENCHMARKS = ROOT / "guides", ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"
sys.path.insert(0, str(GUIDES))

import tutobook

# For a page that has no neighbours to navigate to.
ALONE = "---\nhide:\n  - navigation\n---\n\n"

# The order of the guides: what to read first. The others follow.
FIRST = ("quickstart", "functional_models", "your_own_memory", "kept_memories")


def sorted_guides():
    rank = {name: i for i, name in enumerate(FIRST)}
    return sorted(
        tutobook.guides(), key=lambda guide: rank.get(guide.path.stem, 99)
    )


def guide_page(guide):
    """A guide as Markdown."""
    fields = guide.fields
    parts = [
        f"# {fields['Title']}",
        f"*{fields['Description']}*",
        f"**Author:** {fields['Author']}  \n"
        f"**Last modified:** {fields['Last modified']}  \n"
        f"**To run:** `python guides/{guide.path.name}`",
    ]
    for cell in guide.cells:
        if cell.cell_type == "markdown":
            parts.append(tutobook.linked(cell.source, "md"))
        else:
            parts.append(f"```python\n{cell.source.strip()}\n```")
    picture = f"{guide.path.stem}.png"
    shown = any(picture + ")" in part for part in parts)
    if (GUIDES / picture).exists() and not shown:
        parts.append(f"![The picture that the script draws]({picture})")
    return "\n\n".join(parts) + "\n"


def results_page(path):
    """A benchmark's tables, and its plot where there is one."""
    text = path.read_text()
    plot = path.with_suffix(".png")
    if plot.exists() and plot.name not in text:
        text += f"\n![The same, drawn]({plot.name})\n"
    return text


def title(path):
    """The first heading of a Markdown file."""
    return re.search(r"^# (.+)$", path.read_text(), re.MULTILINE)[1]


def navigation():
    guides = [
        {guide.fields["Title"]: f"guides/{guide.path.stem}.md"}
        for guide in sorted_guides()
    ]
    results = [
        {title(path): f"benchmarks/results/{path.name}"}
        for path in sorted(RESULTS.glob("*.md"))
    ]
    return [
        {"Home": "index.md"},
        {"Guides": guides},
        {"Mathematics": "mathematics.md"},
        {"Reference": reference.navigation()},
        {"Measured": ["benchmarks/README.md", *results]},
    ]


def on_config(config):
    config.nav = navigation()
    return config


def on_files(files, config):
    def add(place, content=None, source=None):
        file = File.generated(
            config, place, content=content, abs_src_path=source
        )
        files.append(file)

    readme = (ROOT / "README.md").read_text()
    add("index.md", ALONE + tutobook.linked(readme, "md"))
    for guide in sorted_guides():
        add(f"guides/{guide.path.stem}.md", guide_page(guide))
    add("benchmarks/README.md", (BENCHMARKS / "README.md").read_text())
    for path in sorted(RESULTS.glob("*.md")):
        add(str(path.relative_to(ROOT)), results_page(path))
    for folder in (GUIDES, RESULTS):
        for path in sorted(folder.glob("*.png")):
            add(str(path.relative_to(ROOT)), source=str(path))
    for place, content in reference.pages().items():
        add(place, content)
    return files
