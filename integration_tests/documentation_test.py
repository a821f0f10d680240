"""The site's reference has every public name, and docstrings become Markdown.

That all of the site can be built is seen to by `.ci/run`.
"""

import pathlib
import re
import textwrap

import griffe
import keras_docstrings
import pytest
import reference

import keras_titans

ROOT = pathlib.Path(__file__).parents[1]
HOOKS = ROOT / "docs" / "hooks"
MODULES = ("callbacks", "layers", "memory", "models", "visualization")
PUBLIC = [
    (module, name)
    for module in MODULES
    for name in getattr(keras_titans, module).__all__
]


@pytest.fixture(scope="module")
def package():
    """The package as the site sees it: read, and not imported."""
    extensions = griffe.load_extensions(HOOKS / "keras_docstrings.py")
    return griffe.load(
        "keras_titans", search_paths=[ROOT], extensions=extensions
    )


@pytest.mark.parametrize("module, name", PUBLIC)
def test_a_public_name_has_its_page(module, name, package):
    pages = reference.pages()
    page = pages[f"reference/{module}/{name}.md"]
    assert f"heading: keras_titans.{module}.{name}\n" in page
    assert f"[`{name}`]({name}.md)" in pages[f"reference/{module}/index.md"]
    assert f"reference/{module}/{name}.md" in str(reference.navigation())
    place = re.search(r"^::: keras_titans\.(.+)$", page, re.MULTILINE)[1]
    thing = package[place]
    assert thing.name == name and not thing.is_module
    assert thing.docstring is not None
    text = thing.docstring.value
    assert "**Example**" in text
    # No section is left as it was.
    assert not keras_docstrings.SECTION.search(text)


def test_a_name_that_is_not_exported_has_none():
    assert "reference/layers/StatefulLayer.md" not in reference.pages()


def test_a_class_shows_what_a_user_calls():
    layer = reference.members(keras_titans.layers.NeuralMemory)
    assert {"get_initial_state", "reset_state"} <= set(layer)
    assert not {"build", "mix", "run", "check_state"} & set(layer)
    rule = reference.members(keras_titans.memory.UpdateRule)
    assert {"step", "coefficients", "at_chunk_end"} <= set(rule)
    assert not reference.members(keras_titans.models.add_memory)


def test_the_readme_quotes_what_was_seen_of_other_packages():
    readme = (ROOT / "README.md").read_text()
    section = readme.split("\n## Beside other packages\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    results = ROOT / "benchmarks" / "results" / "peers_features.md"
    assert len(rows) > 10
    assert set(rows) <= set(results.read_text().splitlines())


def test_sections_become_lists():
    docstring = """\
    Does it.

    Args:
        one: First, which
            goes on.
        two, three: Others.

    Call arguments:
        inputs: `(batch, length)`.

    Returns:
        A number: 3.

    References:
        - [A paper](
            https://example.org/paper), section 3
    """
    wanted = """\
    Does it.

    **Arguments**

    - `one`: First, which
        goes on.
    - `two`, `three`: Others.

    **Call arguments**

    - `inputs`: `(batch, length)`.

    **Returns**

    A number: 3.

    **References**

    - [A paper](https://example.org/paper), section 3
    """
    found = keras_docstrings.as_markdown(textwrap.dedent(docstring))
    assert found.rstrip() == textwrap.dedent(wanted).rstrip()
    assert keras_docstrings.as_markdown(found).rstrip() == found.rstrip()


def test_code_and_equations_stay_as_they_are():
    docstring = "It is\n\n    W = (1 - alpha) W\n\nand:\n\n    Args: none"
    assert keras_docstrings.as_markdown(docstring) == docstring
