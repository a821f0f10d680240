"""The reference: one page for each name in a module's `__all__`."""

import inspect
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras_titans

MODULES = [name for name in keras_titans.__all__ if name != "__version__"]
# Of what layers inherit, what a user calls.
INHERITED = {
    "from_size",
    "generate",
    "get_initial_state",
    "get_memory",
    "load_memory",
    "memorize",
    "reset_memory",
    "reset_state",
    "save_memory",
    "set_memory",
    "state",
}


def module(name):
    return getattr(keras_titans, name)


def symbols():
    """Module -> public names in it."""
    return {name: sorted(module(name).__all__) for name in MODULES}


def documented(value):
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    return inspect.isfunction(value) and bool(value.__doc__)


def members(thing):
    """The methods that a class's page shows."""
    if not inspect.isclass(thing):
        return []
    shown = [
        name
        for name, value in vars(thing).items()
        if not name.startswith("_") and documented(value)
    ]
    for base in thing.__mro__[1:]:
        if base.__module__.partition(".")[0] == keras_titans.__name__:
            names = INHERITED & vars(base).keys()
            shown += [n for n in sorted(names) if documented(vars(base)[n])]
    return list(dict.fromkeys(shown))


def summary(thing):
    """The first paragraph of a docstring."""
    first = inspect.getdoc(thing).partition("\n\n")[0]
    return " ".join(first.split())


def defined_at(thing):
    """Where a name comes from, which may be where it is not exported."""
    return f"{thing.__module__}.{thing.__qualname__}"


def symbol_page(place, name):
    thing = getattr(module(place), name)
    shown = members(thing)
    return "\n".join(
        [
            "---",
            f"title: {name}",
            "---",
            "",
            f"::: {defined_at(thing)}",
            "    options:",
            f"      heading: keras_titans.{place}.{name}",
            f"      members: {shown or 'false'}",
            "",
        ]
    )


def module_page(place, names):
    rows = [
        f"| [`{name}`]({name}.md) | {summary(getattr(module(place), name))} |"
        for name in names
    ]
    about = inspect.getdoc(module(place))
    return "\n".join(
        [f"# keras_titans.{place}", "", about, "", "| | |", "|---|---|", *rows]
    )


def pages():
    """Place on the site -> Markdown."""
    made = {}
    for place, names in symbols().items():
        made[f"reference/{place}/index.md"] = module_page(place, names)
        for name in names:
            made[f"reference/{place}/{name}.md"] = symbol_page(place, name)
    return made


def navigation():
    return [
        {
            place: [
                f"reference/{place}/index.md",
                *({name: f"reference/{place}/{name}.md"} for name in names),
            ]
        }
        for place, names in symbols().items()
    ]
