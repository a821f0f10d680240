"""The lines of a suite, put together by experiment and model.

for group in groups(read(path)):
    print(group.experiment, group.model, group.mean("exact_match", 256))
"""

import json
import math
import statistics
from typing import NamedTuple

from benchmarks.experiment import TASKS

# What a task is judged by: the first that its scores have; is more better?
METRICS = {
    "exact_match": True,
    "bits_per_byte": False,
    "bits_per_base": False,
    "mse": False,
}


class Group(NamedTuple):
    """All seeds of one model of one experiment on one engine."""

    experiment: str
    model: str
    backend: str
    lines: list

    @property
    def configuration(self):
        return self.lines[0]["configuration"]

    @property
    def rows_of(self):
        """What rows are made of: tokens, if not said otherwise."""
        return TASKS[self.configuration["task"]].rows_of

    @property
    def judged(self):
        """The lines that have scores."""
        return [line for line in self.lines if "scores" in line]

    @property
    def diverged(self):
        return sum("diverged" in line for line in self.lines)

    @property
    def lengths(self):
        of = self.configuration
        return [times * of["length"] for times in sorted(of["times"])]

    def values(self, metric, length):
        """One for each seed that has it; `metric` may be a path."""
        path = (metric,) if isinstance(metric, str) else metric
        found = []
        for line in self.judged:
            value = line["scores"].get(str(length))
            for name in path:
                value = None if value is None else value.get(str(name))
            if value is not None:
                found.append(value)
        return found

    def mean(self, metric, length):
        """Over seeds; None where there is none."""
        values = self.values(metric, length)
        return statistics.mean(values) if values else None

    def spread(self, metric, length):
        """The standard deviation over seeds.

        None for fewer than two, and where a score is not finite.
        """
        values = self.values(metric, length)
        if len(values) < 2 or not all(map(math.isfinite, values)):
            return None
        return statistics.stdev(values)

    def names(self, metric):
        """The groups that a score is split by, over all lengths and seeds."""
        found = {
            name
            for line in self.judged
            for score in line["scores"].values()
            for name in score.get(metric, ())
        }
        number = lambda name: name.lstrip("-").isdigit()
        return sorted(found, key=int if all(map(number, found)) else str)


def groups(lines):
    """A `Group` for each model of each experiment, as they first came.

    A cell's last line counts. Of a model that was run in more than one
    configuration, the last one's lines do.
    """
    last, latest = {}, {}
    for line in lines:
        of = line["configuration"]
        place = of["experiment"], of["model"], line["backend"]
        written = json.dumps(of, sort_keys=True)
        latest[place] = written
        last.setdefault(place, {})[written, line["seed"]] = line
    return [
        Group(
            *place,
            [line for (of, _), line in cells.items() if of == latest[place]],
        )
        for place, cells in last.items()
    ]


def metric_of(found):
    """What the groups of one experiment are judged by; None if nothing is."""
    for group in found:
        for line in group.judged:
            for score in line["scores"].values():
                return next(name for name in METRICS if name in score)
    return None


def by_experiment(found):
    """`{experiment: its groups}`, in order."""
    experiments = {}
    for group in found:
        experiments.setdefault(group.experiment, []).append(group)
    return experiments
