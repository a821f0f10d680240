"""The house rules, read off the syntax trees of the package's files.

A file imports from its own floor and from floors below it; `backend` is the
only place that names a framework, and the only one that writes loops.
"""

import ast
import pathlib
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "keras_titans"
TESTS = ROOT / "tests"
# Tests of the package as a whole.
WHOLE = {TESTS / "docstring_test.py", TESTS / "house_test.py"}

# From the ground up. Below them stand the package's own plain modules, such
# as `version`, which anyone may import; above them its `__init__`.
FLOORS = (
    "backend",
    "ops",
    "memory",
    "layers",
    "models",
    "visualization",
    "callbacks",
)
GROUND = -1
ROOF = len(FLOORS)

FRAMEWORKS = {"flax", "jax", "jaxlib", "optax", "tensorflow", "torch"}
# The values of KERAS_BACKEND.
ENGINES = {"jax", "tensorflow", "torch"}
LOOPS = {"associative_scan", "fori_loop", "scan", "while_loop"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))
}


def floor(module):
    """The floor that a module of the package stands on."""
    parts = module.split(".")
    if parts == [PACKAGE]:
        return ROOF
    if parts[1] in FLOORS:
        return FLOORS.index(parts[1])
    return GROUND


def is_backend(module):
    return floor(module) == FLOORS.index("backend")


def absolute(node, module, is_package):
    """The full name of the module that a `from ... import` names."""
    if not node.level:
        return node.module
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def imports(tree, module, is_package):
    """Every name that is imported, anywhere in the file: dotted, with line.

    `from a.b import c` counts as `a.b.c`, be `c` a module or not.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, module, is_package)
            for name in node.names:
                yield f"{source}.{name.name}", node.lineno
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).split(".")[-1]
            name = node.args[0]
            if called in ("import_module", "__import__") and isinstance(
                name, ast.Constant
            ):
                yield str(name.value), node.lineno


def imported_floor(name):
    """The floor that an imported name of the package stands on."""
    parts = name.split(".")
    while len(parts) > 2 and ".".join(parts) not in MODULES:
        parts.pop()
    if parts[1:] and (parts[1] in FLOORS or ".".join(parts) in MODULES):
        return floor(".".join(parts))
    return ROOF


def upward_imports(tree, module, is_package=False):
    here = floor(module)
    for name, line in imports(tree, module, is_package):
        inside = name.split(".")[0] == PACKAGE
        if inside and imported_floor(name) > here:
            yield f"line {line} imports {name}, which is not below it"


def named_frameworks(tree, module, is_package=False):
    if is_backend(module):
        return
    for name, line in imports(tree, module, is_package):
        if name.split(".")[0] in FRAMEWORKS:
            yield f"line {line} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in ENGINES:
            yield f"line {node.lineno} says {node.value!r}"


def written_loops(tree, module, is_package=False):
    """Uses of Keras' loops under whatever name they were imported."""
    if is_backend(module):
        return
    loops = {
        f"{ops}.{loop}"
        for ops in ("keras.ops", "keras.ops.core", "keras.src.ops")
        for loop in LOOPS
    }
    meaning = {"keras": "keras"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.asname:
                    meaning[name.asname] = name.name
        elif isinstance(node, ast.ImportFrom):
            source = absolute(node, module, is_package)
            for name in node.names:
                full = f"{source}.{name.name}"
                meaning[name.asname or name.name] = full
                if full in loops:
                    yield f"line {node.lineno} imports {full}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            full = f"{meaning.get(first, first)}.{rest}"
            if full in loops:
                yield f"line {node.lineno} uses {full}"


RULES = (upward_imports, named_frameworks, written_loops)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule):
    broken = []
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for what in rule(tree, module, path.name == "__init__.py"):
            broken.append(f"{path.relative_to(ROOT)}: {what}")
    assert not broken, "\n".join(broken)


def test_every_folder_is_a_floor():
    folders = {module.split(".")[1] for module in MODULES if "." in module}
    folders = {name for name in folders if (ROOT / PACKAGE / name).is_dir()}
    assert folders <= set(FLOORS), "say in FLOORS where the new ones stand"
    # An empty scan would pass everything.
    assert {"backend", "ops", "layers"} <= folders


def test_every_unit_test_mirrors_a_file():
    """`tests/ops/decay_test.py` tests `keras_titans/ops/decay.py`.

    A topic may follow the file's name: `decay_gradient_test.py`. A folder's
    `__init__.py` is tested by the file named after the folder. What is beside
    the package has its own name: `tests/benchmarks/tasks/recall_test.py`.
    """
    astray = []
    for path in TESTS.rglob("*_test.py"):
        if path in WHOLE:
            continue
        stem = path.stem.removesuffix("_test")
        place = path.parent.relative_to(TESTS)
        beside = place.parts[:1] == ("benchmarks",)
        folder = ROOT / place if beside else ROOT / PACKAGE / place
        sources = {source.stem for source in folder.glob("*.py")}
        sources.add(folder.name)
        if not any(f"{stem}_".startswith(f"{name}_") for name in sources):
            astray.append(str(path.relative_to(ROOT)))
    assert not astray, astray


def found(rule, module, source):
    return list(rule(ast.parse(textwrap.dedent(source)), module))


@pytest.mark.parametrize(
    "module, source",
    [
        ("keras_titans.ops.unit", "from keras_titans import layers"),
        ("keras_titans.ops.unit", "import keras_titans.memory.objective"),
        ("keras_titans.ops.unit", "from ..memory import objective"),
        ("keras_titans.ops.unit", "from .. import layers"),
        ("keras_titans.memory.rule", "from keras_titans.layers import X"),
        ("keras_titans.backend.jax_engine", "from keras_titans import ops"),
        ("keras_titans.layers.block", "def f():\n  import keras_titans"),
        ("keras_titans.layers.block", "from keras_titans import __version__"),
        ("keras_titans.validation", "from keras_titans.ops import unit"),
    ],
)
def test_an_upward_import_is_seen(module, source):
    assert found(upward_imports, module, source)


@pytest.mark.parametrize(
    "module, source",
    [
        ("keras_titans.layers.block", "from keras_titans import memory"),
        (
            "keras_titans.layers.block",
            "from keras_titans.layers.other import X",
        ),
        ("keras_titans.layers.block", "from ..ops.unit import unit"),
        ("keras_titans.layers.block", "from .other import X"),
        ("keras_titans.ops.unit", "from keras_titans import backend"),
        ("keras_titans.ops.unit", "from keras_titans.validation import f"),
        ("keras_titans.layers.block", "from keras_titans.version import v"),
        ("keras_titans", "from keras_titans import layers"),
        ("keras_titans.models.model", "import keras_hub"),
    ],
)
def test_an_import_from_below_is_fine(module, source):
    assert not found(upward_imports, module, source)


@pytest.mark.parametrize(
    "source",
    [
        "import jax",
        "import jax.numpy as jnp",
        "from torch.utils import checkpoint",
        "def f():\n  import tensorflow as tf",
        "import importlib\nimportlib.import_module('torch.func')",
        "import keras\njit = keras.backend.backend() == 'jax'",
    ],
)
def test_a_framework_is_seen(source):
    assert found(named_frameworks, "keras_titans.layers.block", source)
    assert not found(named_frameworks, "keras_titans.backend.engine", source)


@pytest.mark.parametrize(
    "source",
    [
        "import keras\nkeras.ops.scan(f, x)",
        "from keras import ops\nops.fori_loop(0, 3, f, x)",
        "from keras import ops as K\nK.while_loop(c, f, x)",
        "import keras.ops as K\nK.associative_scan(f, x)",
        "from keras.ops import scan as loop",
        "from keras import ops\nfunctools.partial(ops.scan, f)",
    ],
)
def test_a_loop_is_seen(source):
    assert found(written_loops, "keras_titans.ops.unit", source)
    assert not found(written_loops, "keras_titans.backend.engine", source)


def test_our_own_scan_is_fine():
    source = "from keras_titans import backend\nbackend.scan(f, x)"
    assert not found(written_loops, "keras_titans.ops.unit", source)
