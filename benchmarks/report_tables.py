"""Tables of a suite's results, in Markdown."""

import math

from benchmarks.markdown import table
from benchmarks.measure import MIB
from benchmarks.measure import median
from benchmarks.results_of import METRICS
from benchmarks.variants import MODELS

NOTHING = "\u2013"
# A score split by more than this is neither read nor printed: of each there
# are few, and a page is not so wide.
MOST_GROUPS = 16


def in_order(found):
    """Groups in the order in which models are listed."""
    names = list(MODELS)
    place = lambda name: names.index(name) if name in names else len(names)
    return sorted(found, key=lambda group: (place(group.model), group.backend))


def name_of(group, found):
    """The model, and the engine where there are several."""
    if len({one.backend for one in found}) > 1:
        return f"{group.model}, {group.backend}"
    return group.model


def number(value, metric):
    """A score as it is printed: shares in percent."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "not finite"
    if metric.startswith("exact_match"):
        return f"{100 * value:.1f}"
    return f"{value:.3f}"


def score(group, metric, length):
    """Mean and spread over seeds, or why there is none."""
    if not group.values(metric, length):
        return NOTHING
    shown = number(group.mean(metric, length), metric)
    spread = group.spread(metric, length)
    if spread is not None:
        shown += f" \u00b1 {number(spread, metric)}"
    return shown


def unit(metric):
    if metric == "exact_match":
        return "exact match, %"
    return metric.replace("_", " ")


def seeds(group):
    """How many were judged, and what became of the others."""
    parts = [str(len(group.judged))]
    failed = len(group.lines) - len(group.judged) - group.diverged
    parts += [f"{group.diverged} not finite"] * bool(group.diverged)
    parts += [f"{failed} failed"] * bool(failed)
    return ", ".join(parts)


def speed(group):
    """Thousands of tokens, or what rows are made of, a training second.

    The median slice after the first, which compiles.
    """
    of = group.configuration
    rates = []
    for line in group.judged:
        tokens = line["slice_steps"] * of["batch_size"] * of["length"]
        whole = line["tokens"] // tokens  # the last one may be shorter
        rates += [
            tokens / seconds for seconds in line["train_seconds"][1:whole]
        ]
    return f"{median(rates) / 1e3:.2f}" if rates else NOTHING


def memory(group):
    """Peak MiB in training: the accelerator's where there is one."""
    peaks = [
        line["peak_device_bytes_of_training"] or line["peak_bytes_of_training"]
        for line in group.judged
    ]
    return f"{median(peaks) / MIB:,.0f}" if peaks else NOTHING


def by_length(found, metric):
    """One experiment: a row for each model, a column for each length."""
    found = in_order(found)
    lengths = sorted({length for group in found for length in group.lengths})
    head = [unit(metric), *(f"{length:,}" for length in lengths)]
    head += ["seeds", "weights", f"k {found[0].rows_of}/s", "peak MiB"]
    rows = [
        [
            name_of(group, found),
            *(score(group, metric, length) for length in lengths),
            seeds(group),
            f"{group.judged[0]['parameters']:,}" if group.judged else NOTHING,
            speed(group),
            memory(group),
        ]
        for group in found
    ]
    return table(head, rows)


def by_group(found, metric):
    """One experiment at its greatest length, split by what its score is."""
    found = in_order(found)
    names = {name: None for group in found for name in group.names(metric)}
    if not 0 < len(names) <= MOST_GROUPS:
        return []
    length = max(length for group in found for length in group.lengths)
    if metric.endswith("_by_position"):
        names.pop(str(length), None)  # a single token of each row
    short = metric.split("_by_")[0]
    rows = [
        [
            name_of(group, found),
            *(
                number(group.mean((metric, name), length), short)
                for name in names
            ),
        ]
        for group in found
    ]
    title = metric.replace("_", " ")
    return table([f"{title}, at {length:,}", *names], rows)


def splits(found, metric):
    """By what the metric of an experiment is split, if by anything."""
    return [
        name
        for line in (line for group in found for line in group.judged[:1])
        for name in next(iter(line["scores"].values()))
        if name.startswith(f"{metric}_by_")
    ][:1]


def ablations(experiments):
    """For each base, what its variants score, and by how much that differs.

    Args:
        experiments: `{name: (groups, metric)}`.
    """
    lines = []
    for name, (found, metric) in experiments.items():
        pairs = [
            (base, group)
            for group in in_order(found)
            for base in found
            if group.configuration["ablates"] == base.model
            and group.backend == base.backend
        ]
        if not pairs:
            continue
        lengths = pairs[0][0].lengths
        better = "more" if METRICS[metric] else "less"
        head = [f"{name}: {unit(metric)} ({better} is better)"]
        head += [f"{n:,}" for n in lengths] + ["seeds"]
        rows = []
        for base in dict.fromkeys(base.model for base, _ in pairs):
            of_base = [pair for pair in pairs if pair[0].model == base]
            rows.append(ablated(of_base[0][0], None, metric, lengths))
            rows += [
                ablated(group, of, metric, lengths) for of, group in of_base
            ]
        lines += [*table(head, rows), ""]
    return lines


def ablated(group, base, metric, lengths):
    cells = []
    for length in lengths:
        shown = score(group, metric, length)
        values = group.mean(metric, length), base and base.mean(metric, length)
        if None not in values and all(map(math.isfinite, values)):
            scale = 100 if metric == "exact_match" else 1
            difference = scale * (values[0] - values[1])
            shown += f" ({difference:+.3g})"
        cells.append(shown)
    name = group.model if base else f"**{group.model}**"
    return [name, *cells, seeds(group)]
