"""The rows of the table, each with what its cells say.

A cell is given what was seen of a package, an entry for an engine.
"""

from benchmarks.peers_features.sizes import SAME

ENGINES = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
NONE = "–"


def every(cell):
    """A cell that must be the same on every engine; else it names them."""

    def joined(entries):
        cells = {seen["engine"]: cell(seen) for seen in entries}
        if len(set(cells.values())) == 1:
            return next(iter(cells.values()))
        return "; ".join(f"{ENGINES[e]}: {text}" for e, text in cells.items())

    return joined


def engines(entries):
    if len(entries) > 1:
        return ", ".join(ENGINES[seen["engine"]] for seen in entries)
    names = entries[0]["names"]
    kernels = " and Triton" if names["triton"] else ""
    return ", ".join(ENGINES[e] for e in names["engines"]) + kernels


@every
def variants(seen):
    found = [n for n in ("MAC", "MAG", "MAL") if n in seen["causality"]]
    return ", ".join([*found, "memory alone"]) if found else NONE


@every
def causal(seen):
    found = seen["causality"]
    leaks = [name for name in found if not found[name]["causal"]]
    if not leaks:
        return "yes"
    worst = found[leaks[0]]
    return f"no: output {worst['output']} depends on token {worst['token']}"


@every
def apart(seen):
    whole = all(found["apart"] for found in seen["rows_apart"].values())
    return "yes" if whole else "no"


@every
def padded(seen):
    found = dict(seen["padding"])
    if not found.pop("argument"):
        return "no mask"
    held = [where for where, same in found.items() if same]
    return "yes, anywhere" if len(held) == len(found) else f"only {held[0]}"


@every
def in_pieces(seen):
    found = seen["pieces"]
    if not found["state"]:
        return "no state"
    if found["any length"] is True:
        return "of any length"
    return "of whole chunks" if found["whole chunks"] is True else "no"


def in_a_file(entries):
    found = [seen["kept"] for seen in entries]
    if not found[0]["state"]:
        return "no state"
    if not all(one["equal"] for one in found):
        return "no"
    if not found[0]["own"]:
        return "by `torch.save`"
    others = [seen["across"] for seen in entries[1:]]
    carried = all(other and other["error"] < SAME for other in others)
    return "yes, from engine to engine" if others and carried else "yes"


@every
def cached(seen):
    found = seen["generation"]
    if not found["named"]:
        return "no generation"
    worst = max(found["off by"].values())
    return "yes" if worst < SAME else f"off by up to {100 * worst:.0f} %"


@every
def carried(seen):
    sizes = seen["generation"].get("carried")
    if not sizes:
        return NONE
    return ", ".join(f"{size / 1024:,.0f}" for size in sizes.values())


def reached(entries):
    found = [seen["gradients"] for seen in entries if seen["gradients"]][0]
    if "failed" in found:
        raise KeyError
    return f"{found['weights'] - len(found['missed'])} of {found['weights']}"


@every
def steps(seen):
    found = dict(seen["trained"])
    usual = found.pop("as usual")
    if usual is True:
        return "yes"
    works = [name for name, fine in found.items() if fine is True]
    if not works and "Interpreter" in str(usual):
        raise KeyError
    return " or ".join(["only with " + works[0], *works[1:]]) if works else "no"


@every
def grows(seen):
    sizes = (seen["bounded"][scale] for scale in ("1", "10"))
    return ", ".join(s if isinstance(s, str) else f"{s:.2g}" for s in sizes)


@every
def surprises(seen):
    return "yes" if seen["surprise"].get("each") else NONE


@every
def saved(seen):
    found = seen["saving"]
    if not found["means"]:
        return "weights alone"
    if found["equal"]:
        return f"yes, `{found['means']}`"
    return "no: loading fails" if "why" in found else "no: another comes back"


@every
def memorised_into(seen):
    found = seen["networks"]
    count = len(found["names"])
    own = ", and your own" if found["own"] else ""
    return f"{count or 1}{own}"


@every
def beyond(seen):
    works = [name for name, fine in seen["options"].items() if fine]
    return "; ".join(works) or NONE


@every
def fits(seen):
    models = [name for name in seen["contracts"] if name != "PyTorch"]
    trainers = [f"`{name}`" for name in seen["names"]["trainers"]]
    if models:
        return ", ".join(models)
    return ", with ".join(["PyTorch", *trainers])


@every
def kernels(seen):
    return str(seen["names"]["triton"] or NONE)


@every
def others(seen):
    titans = set(seen["causality"]) & {"MAC", "MAG", "MAL"}
    return NONE if titans else f"{seen['names']['layers']} layers"


ROWS = {
    "engines": engines,
    "the paper's variants": variants,
    "no output depends on a later token": causal,
    "no row depends on another": apart,
    "padding changes nothing": padded,
    "pieces equal the whole": in_pieces,
    "a memory kept in a file and continued": in_a_file,
    "logits from a cache as from all the text": cached,
    "carried after 64, 256 tokens, KiB": carried,
    "weights of the memory with a gradient": reached,
    "a step of Adam on the memory, two heads": steps,
    "last outputs over first of 2,048, inputs × 1, × 10": grows,
    "surprise of each token": surprises,
    "a model in a file": saved,
    "models are those of": fits,
    "networks to memorise into": memorised_into,
    "beyond the paper": beyond,
    "GPU kernels in Triton": kernels,
    "other linear attention": others,
    "needs Python": every(lambda seen: seen["needs python"].strip(">=")),
    "licence": every(lambda seen: seen["licence"].removesuffix(" License")),
    "version": every(lambda seen: seen["version"]),
    "released": every(lambda seen: seen["released"] or NONE),
}


def cell(row, entries):
    try:
        return ROWS[row](entries)
    except KeyError:
        return "needs a GPU"
