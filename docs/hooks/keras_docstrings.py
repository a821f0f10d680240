"""Docstrings in Keras' form, as Markdown.

`Args:`, `Call arguments:` and so on become lists, as on keras.io; griffe's own
parser knows no call arguments.
"""

import re
import textwrap

import griffe

LISTS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Call arguments": "Call arguments",
    "Raises": "Raises",
}
TEXTS = ("Example", "References", "Returns", "Yields")
SECTION = re.compile(rf"^({'|'.join([*LISTS, *TEXTS])}):$")
ENTRY = re.compile(r"^([\w.*, `]+): (.+)$", re.DOTALL)


def as_list(lines):
    """`name: what it is`, with more of it indented, as a list."""
    entries = []
    for line in textwrap.dedent("\n".join(lines)).splitlines():
        if line.strip() and not line.startswith(" "):
            entries.append([line])
        elif entries:
            entries[-1].append(line)
    made = []
    for first, *rest in entries:
        rest = textwrap.dedent("\n".join(rest)).strip("\n")
        text = f"{first}\n{rest}".strip()
        if found := ENTRY.match(text):
            names = (f"`{name.strip()}`" for name in found[1].split(","))
            text = f"{', '.join(names)}: {found[2]}"
        made.append("- " + textwrap.indent(text, "    ").lstrip())
    return "\n".join(made)


def as_text(lines):
    text = textwrap.dedent("\n".join(lines))
    # A link's address on a line of its own.
    return re.sub(r"\]\(\s+", "](", text)


def as_markdown(docstring):
    made, lines = [], docstring.splitlines()
    while lines:
        line = lines.pop(0)
        found = SECTION.match(line)
        if found is None:
            made.append(line)
            continue
        body = []
        while lines and (not lines[0] or lines[0].startswith(" ")):
            body.append(lines.pop(0))
        name = found[1]
        text = as_list(body) if name in LISTS else as_text(body)
        heading = LISTS.get(name, name)
        made += [f"**{heading}**", "", text.strip("\n"), ""]
    return "\n".join(made)


class KerasDocstrings(griffe.Extension):
    """Every docstring that griffe reads, as Markdown."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
