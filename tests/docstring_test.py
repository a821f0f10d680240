"""The examples that public docstrings show run as they stand."""

import functools
import inspect
import re
import textwrap

import keras
import numpy as np
import pytest

import keras_titans

FLOORS = (
    keras_titans.layers,
    keras_titans.memory,
    keras_titans.models,
    keras_titans.visualization,
    keras_titans.callbacks,
)
PUBLIC = {
    f"{floor.__name__.split('.')[-1]}.{name}": getattr(floor, name)
    for floor in FLOORS
    for name in floor.__all__
}


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: the examples run as a user runs them."""


def examples(thing):
    text = inspect.getdoc(thing) or ""
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return [textwrap.dedent(block) for block in blocks]


def documented_arguments(text):
    """The names before each colon of the section `Args`, but `**kwargs`."""
    section = re.search(r"^Args:\n((?: {4}.*\n|\n)+)", text, re.MULTILINE)
    if section is None:
        return set()
    lines = re.sub(r",\n {8}", ", ", section[1])  # a list of names goes on
    entries = re.findall(r"^ {4}([a-z_][a-z_, ]*):", lines, re.MULTILINE)
    return {name.strip() for entry in entries for name in entry.split(",")}


@pytest.mark.parametrize("name", [*PUBLIC, "models.TitansBackbone.from_size"])
def test_every_documented_argument_is_in_the_signature(name):
    floor, *rest = name.split(".")
    thing = functools.reduce(getattr, rest, getattr(keras_titans, floor))
    signature = inspect.signature(thing).parameters
    documented = documented_arguments(inspect.getdoc(thing) or "")
    assert documented <= set(signature)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow_on("jax", "tensorflow"))
        if name.startswith(("models.", "callbacks.", "layers.MemoryAs"))
        else name
        for name in PUBLIC
    ],
)
def test_examples_run(name):
    found = examples(PUBLIC[name])
    assert found, f"{name} shows no example"
    for example in found:
        names = {"keras": keras, "np": np, "keras_titans": keras_titans}
        exec(compile(example, f"<example of {name}>", "exec"), names)
        layer = names.get("layer")
        if layer is not None and not layer.built:
            layer(keras.random.normal((1, 5, 16)))
