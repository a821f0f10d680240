"""Tables and plots of what `benchmarks.run` has measured.

    python -m benchmarks.report --suite quick

Reads `benchmarks/results/SUITE.jsonl` and writes `SUITE.md` and its plots
beside it. Nothing here measures.
"""

import argparse
import pathlib

from benchmarks import report_plots
from benchmarks import report_tables
from benchmarks import suites
from benchmarks.aims import aims
from benchmarks.experiment import training_lengths
from benchmarks.results_of import by_experiment
from benchmarks.results_of import groups
from benchmarks.results_of import metric_of
from benchmarks.run import RESULTS
from benchmarks.run import read

EXPLANATION = """\
Means over seeds \u00b1 their standard deviation. All models of a table were
trained on the same rows, in the same order, with the same optimizer; the first
length is that of the training rows. `k tokens/s`: thousand training tokens, or
half-hours, a second, compilation left out, making of the rows included. `peak
MiB`: the most that was in use in training, of the accelerator's memory, or of
the process, interpreter and libraries included. \u2013 is what was not
measured."""


def report(suite, folder):
    """Write the report of one suite; returns its path."""
    path = folder / f"{suite}.jsonl"
    lines = read(path)
    if not lines:
        raise SystemExit(
            f"{path.name} has no lines: python -m benchmarks.run --suite "
            f"{suite}"
        )
    found = groups(lines)
    experiments = {
        name: (of, metric)
        for name, of in by_experiment(found).items()
        if (metric := metric_of(of)) is not None
    }
    text = [
        *heading(suite, found),
        "",
        "## Aims",
        "",
        *(
            f"- **{aim.verdict}**: {aim.title}. {aim.why}."
            for aim in aims(found)
        ),
        "",
        *(
            line
            for name, (of, metric) in experiments.items()
            for line in section(suite, folder, name, of, metric)
        ),
    ]
    if ablated := report_tables.ablations(experiments):
        text += ["## Ablations", "", "In brackets, the difference.", ""]
        text += ablated
    text += failures(found)
    path = folder / f"{suite}.md"
    path.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    return path


def heading(suite, found):
    """What the report is of, how to read it and where it was measured."""
    return [
        f"# Results of the suite {suite}",
        "",
        f"`python -m benchmarks.run --suite {suite}`, then "
        f"`python -m benchmarks.report --suite {suite}`.",
        "",
        EXPLANATION,
        "",
        *ran_on(found),
    ]


def ran_on(found):
    """A line for each machine, engine and device."""
    kinds = {}
    for line in (line for group in found for line in group.judged):
        machine = line["machine"]
        versions = ", ".join(f"{k} {v}" for k, v in line["versions"].items())
        device = "" if line["device"] == "cpu" else f"{line['device']}, "
        kinds[
            f"- {device}{machine['processor']}, {machine['cores']} cores, "
            f"{machine['memory_gib']} GiB: {versions}"
        ] = None
    return list(kinds)


def section(suite, folder, name, found, metric):
    """An experiment's table and its plots, which are written."""
    main = [group for group in found if report_plots.is_main(group)]
    stem = f"{suite}_{name.replace(', ', '_').replace(' ', '_')}"
    lines = [f"## {name}", "", described(found[0]), ""]
    lines += [*report_tables.by_length(found, metric), ""]
    splits = report_tables.splits(found, metric)
    if len(main) < 2 or name.endswith("ablations"):
        return lines
    for split in splits:
        lines += [*report_tables.by_group(main, split), ""]
    figures = {stem: report_plots.by_length(main, metric)}
    if f"{metric}_by_position" in splits:
        figure = report_plots.by_position(main, metric)
        figures[f"{stem}_position"] = figure
    if "exact_match_by_depth" in splits:
        figures[f"{stem}_depth"] = report_plots.needle_maps(main)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
        lines += [f"![{name}]({name}.png)", ""]
    return lines


def described(group):
    """What an experiment is, in a sentence."""
    of = group.configuration
    options = ", ".join(f"{k} {v}" for k, v in of["options"].items())
    lengths = ", ".join(f"{n:,}" for n in training_lengths(of))
    carried = ""
    if "carried" in of:
        carried = ", fewer of the longer, their state carried on"
    return (
        f"Task `{of['task']}`{f' ({options})' if options else ''}; "
        f"{of['num_layers']} blocks of width {of['hidden_dim']}, "
        f"{of['num_heads']} heads, windows of {of['window_size']}, chunks of "
        f"{of['chunk_size']}; {of['steps']:,} steps of {of['batch_size']} rows "
        f"of {lengths} {group.rows_of}{carried}."
    )


def failures(found):
    """What was not measured, and why."""
    lines = []
    for group in found:
        for line in group.lines:
            where = f"{group.experiment}, {group.model}, seed {line['seed']}"
            if "failed" in line:
                lines.append(f"- {where}: {line['failed']}")
            if "diverged" in line:
                step = line["diverged"]
                lines.append(f"- {where}: loss not finite by step {step:,}")
            for length, why in line.get("not_run", {}).items():
                at = f"{int(length):,} {group.rows_of}"
                lines.append(f"- {where}, at {at}: {why}")
    return ["## Not measured", "", *lines] if lines else []


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--suite", nargs="+", choices=suites.SUITES, help="all, by default")
    add("--results", type=pathlib.Path, default=RESULTS, help="a folder")
    options = parser.parse_args(arguments)
    there = [
        suite
        for suite in suites.SUITES
        if (options.results / f"{suite}.jsonl").exists()
    ]
    for suite in options.suite or there:
        print(report(suite, options.results))


if __name__ == "__main__":
    main()
