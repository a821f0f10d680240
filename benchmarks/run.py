"""The evidence: models that differ in their mixer alone, task by task.

    python -m benchmarks.run --suite quick            # minutes, on two cores
    python -m benchmarks.run --suite standard         # hours
    python -m benchmarks.run --suite full             # for a GPU
    KERAS_BACKEND=torch python -m benchmarks.run --suite quick
    python -m benchmarks.run --suite quick --tasks recall --models LMM window

What is to be run stands in `benchmarks/suites.py`. Each cell, one model of one
experiment with one seed, has a process of its own; when it is done, a line is
added to `benchmarks/results/SUITE.jsonl`. A cell that has its line there is
not run again, so a run that was stopped goes on where it was. A cell that
crashed or took too long has a line that says so, and is tried again.

`python -m benchmarks.report --suite SUITE` makes tables and plots of it.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import tqdm

from benchmarks import data
from benchmarks import measure
from benchmarks import suites
from benchmarks import workers
from benchmarks.experiment import training_lengths
from benchmarks.variants import CLOSED_FORMS

RESULTS = pathlib.Path(__file__).parent / "results"
MODULE = "benchmarks.run_worker"
SLICES = 20  # in how many parts a training is run, each with a mean loss


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--suite", default="quick", choices=suites.SUITES)
    add("--tasks", nargs="+", help="names of experiments; by default all")
    add("--models", nargs="+", help="by default all of an experiment's")
    add("--seeds", nargs="+", type=int, help="by default the experiment's")
    add("--results", type=pathlib.Path, default=RESULTS, help="a folder")
    add("--list", action="store_true", help="say what would be run")
    options = parser.parse_args(arguments)
    names = [one.name for one in suites.SUITES[options.suite]]
    models = [model for one in experiments(options) for model in one.models]
    for name, choices in (("tasks", names), ("models", models)):
        if unknown := set(getattr(options, name) or ()) - set(choices):
            parser.error(
                f"--{name}: to choose from are {list(dict.fromkeys(choices))}."
                f" Received: {sorted(unknown)}."
            )
    return options


def experiments(options):
    """Those of the suite that are asked for."""
    return [
        one
        for one in suites.SUITES[options.suite]
        if options.tasks is None or one.name in options.tasks
    ]


def chosen(options):
    """The cells that are asked for: a seed of all before the next seed."""
    cells = [
        cell
        for experiment in experiments(options)
        for cell in experiment.cells(options.models, options.seeds)
    ]
    return sorted(cells, key=lambda cell: cell.seed)


def key(line):
    """What tells a cell from all others."""
    of = [line["configuration"], line["seed"], line["backend"]]
    return json.dumps(of, sort_keys=True)


def read(path):
    """The lines of a suite; none where there is no file yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def left(cells, lines, backend):
    """The cells that have no finished line."""
    done = {key(line) for line in lines if "failed" not in line}
    started = lambda cell: {**cell._asdict(), "backend": backend}
    return [cell for cell in cells if key(started(cell)) not in done]


def run_cell(cell, backend, machine, on_steps):
    """The line of one cell, however it ends.

    Args:
        cell: A `benchmarks.experiment.Cell`.
        backend: The engine's name.
        machine: What `measure.describe_machine` says.
        on_steps: Called with a number of steps when they are done.
    """
    line = {
        "configuration": cell.configuration,
        "seed": cell.seed,
        "backend": backend,
        "machine": machine,
    }
    worker = worker_on(backend)
    end = time.monotonic() + 60 * cell.limit_minutes
    ask = lambda **command: worker.ask(
        max(end - time.monotonic(), 1.0), **command
    )
    try:
        spec = {"configuration": cell.configuration, "seed": cell.seed}
        line["versions"] = ask(do="make", spec=spec)["versions"]
        line |= ask(do="about")
        line |= trained(cell.configuration, ask, on_steps)
        if "diverged" not in line:
            line |= judged(cell.configuration, ask)
    except workers.Stopped as reason:
        line["failed"] = str(reason)
    finally:
        worker.stop()
    return line


def worker_on(backend):
    """A process for one cell; what one has compiled, the next ones find."""
    name = "JAX_COMPILATION_CACHE_DIR"
    cache = os.environ.get(name) or str(data.folder() / "compiled")
    environment = {"KERAS_BACKEND": backend, name: cache}
    _, total = measure.available_memory()
    return workers.Worker(
        sys.executable,
        MODULE,
        environment | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        total and 0.9 * total,
    )


def trained(configuration, ask, on_steps):
    """Train in slices; ends where the loss is not finite."""
    steps, cycle = configuration["steps"], len(training_lengths(configuration))
    # Whole cycles of lengths, so that the slices' losses compare.
    slices = 1 if configuration["mixer"] in CLOSED_FORMS else SLICES
    size = max(steps // slices // cycle, 1) * cycle
    losses, seconds, done = [], [], 0
    facts = {"loss": losses, "train_seconds": seconds, "slice_steps": size}
    while done < steps:
        count = min(size, steps - done)
        answer = ask(do="train", steps=count)
        done += count
        on_steps(count)
        losses.append(answer["loss"])
        seconds.append(round(answer["seconds"], 3))
        if answer["loss"] is None:
            facts["diverged"] = done
            break
    per_step = configuration["batch_size"] * configuration["length"]
    peaks = ask(do="peaks")
    facts |= {f"{name}_of_training": bytes for name, bytes in peaks.items()}
    return {**facts, "tokens": done * per_step}


def judged(configuration, ask):
    """Scores by length; what does not fit is said, and ends it."""
    scores, seconds, not_run = {}, {}, {}
    facts = {"scores": scores, "judge_seconds": seconds, "not_run": not_run}
    longest = max(configuration["times"])
    for times in sorted(configuration["times"]):
        length = times * configuration["length"]
        count = configuration["cases"]
        if configuration["same_tokens"]:
            count = count * longest // times
        try:
            answer = ask(do="score", length=length, count=count)
            scores[str(length)] = answer["score"]
            seconds[str(length)] = round(answer["seconds"], 3)
            facts |= ask(do="peaks")
        except workers.Stopped as reason:
            not_run[str(length)] = str(reason)
            if not scores:
                raise
            break
    return facts


def run(options):
    """Run what is left, and add a line for each cell."""
    backend = os.environ["KERAS_BACKEND"]
    path = options.results / f"{options.suite}.jsonl"
    cells = chosen(options)
    todo = left(cells, read(path), backend)
    print(f"{len(cells)} cells, {len(cells) - len(todo)} of them done before")
    if options.list:
        print("\n".join(cell.title for cell in todo))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = measure.describe_machine()
    start = time.monotonic()
    steps = sum(cell.configuration["steps"] for cell in todo)
    with tqdm.tqdm(total=steps, unit="step", dynamic_ncols=True) as bar:
        for cell in todo:
            bar.set_description(cell.title)
            before = bar.n
            line = run_cell(cell, backend, machine, bar.update)
            bar.update(before + cell.configuration["steps"] - bar.n)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            bar.write(f"{cell.title}: {outcome(line)}")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes; lines: {path.name}")


def outcome(line):
    """A line in words."""
    if "failed" in line:
        return line["failed"]
    if "diverged" in line:
        return f"the loss was not finite by step {line['diverged']}"
    values = [
        f"{name} {score[name]:.3g} at {length}"
        for length, score in line["scores"].items()
        for name in list(score)[:1]
    ]
    return ", ".join([*values, *line["not_run"].values()])


if __name__ == "__main__":
    run(parse())
