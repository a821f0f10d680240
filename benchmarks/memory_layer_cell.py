"""One implementation at one length and chunk, for `memory_layer.py`."""

import importlib.util
import math
import sys
import time

from benchmarks import flops
from benchmarks import measure
from benchmarks import workers

MODES = ("forward", "train")


class Cell:
    """One implementation at one length and chunk: a process, and its figures.

    `line(mode)` gives its raw line: its seconds and bytes, or the reason why
    there are none.
    """

    def __init__(self, run, package, engine, variant, chunk, length):
        self.run, self.package = run, package
        self.engine, self.variant = engine, variant
        self.chunk, self.length = chunk, length
        self.worker = None
        self.reason = {}  # mode -> why it was not run
        self.hopeless = False  # for more tokens too
        self.facts = {mode: {} for mode in MODES}
        self.seconds = {mode: [] for mode in MODES}
        self.spent = dict.fromkeys(MODES, 0.0)

    def make(self):
        late = time.monotonic() > self.run.deadline
        for mode in MODES:
            over = f"{self.run.options.minutes:g} minutes were over"
            self.reason[mode] = over if late else self._foreseen(mode)
        if all(self.reason[mode] for mode in MODES):
            return
        ours = self.package == "keras_titans"
        if ours and not available([self.engine]):
            missing = f"{self.engine} is not installed"
            return self._give_up(workers.Stopped(missing))
        spec = {
            "what": "ours" if ours else "peer",
            "engine": self.engine,
            "anchor" if ours else "variant": self.variant,
            "chunk": self.chunk,
            "length": self.length,
        }
        python = sys.executable if ours else self.run.peer
        try:
            self.worker = self.run.start(spec, python)
        except workers.Stopped as stopped:
            self._give_up(stopped)

    def _give_up(self, stopped):
        self.hopeless = stopped.by_limit
        for mode in MODES:
            self.reason[mode] = self.reason[mode] or str(stopped)
        self.stop()
        self.worker = None

    def _key(self, mode):
        return self.package, self.engine, self.variant, self.chunk, mode

    def _foreseen(self, mode):
        """Why not to start, from what shorter lengths took; None to start."""
        past = self.run.history.get(self._key(mode), [])
        if not past:
            return None
        if past[-1][1] is None:
            return f"{past[-1][0]:,} tokens did not run"
        seconds = _extrapolate([(n, s) for n, s, _ in past], self.length)
        memory = _extrapolate([(n, b) for n, _, b in past], self.length)
        most = self.run.options.call_limit
        if seconds > most:
            return f"predicted {seconds:.0f} s > {most:g} s"
        if self.run.limit and memory > self.run.limit:
            limit = f"{self.run.limit / measure.GIB:.0f} GiB"
            return f"predicted {memory / measure.GIB:.0f} GiB > {limit}"
        return None

    def prepare(self, mode):
        if self.reason[mode] or not self.worker:
            return
        timeout = 60 + 4 * self.run.options.call_limit
        try:
            self.facts[mode] = self.worker.ask(
                timeout, do="prepare", mode=mode, patience=3.0
            )
        except workers.Stopped as stopped:
            self._give_up(stopped)

    def take_turn(self, mode, turn):
        """A burst of calls, unless this cell has had its share."""
        o = self.run.options
        if self.reason[mode] or not self.worker:
            return
        call = measure.median(self.seconds[mode])
        call = call or self.facts[mode]["call_seconds"]
        least = 3 if call < o.call_limit / 4 else 1
        enough = turn >= max(least, o.cell_seconds / call)
        if enough or (turn and self.spent[mode] > 6 * o.cell_seconds):
            return
        start = time.monotonic()
        try:
            burst = o.cell_seconds / o.rounds / 2
            answer = self.run.time(self.worker, mode, burst, 10, last=call)
        except workers.Stopped as stopped:
            self._give_up(stopped)
            return
        facts = self.facts[mode]
        self.spent[mode] += time.monotonic() - start
        self.seconds[mode] += answer["seconds"]
        facts["peak"] = max(answer["peak"], facts.get("peak", 0))
        facts["peak_of_process"] = answer["peak_of_process"]
        facts.setdefault("others", []).append(answer["others"])

    def line(self, mode):
        """The raw line; also what later lengths are foreseen from."""
        line = {
            "kind": "cell",
            "package": self.package,
            "engine": self.engine,
            "variant": self.variant,
            "chunk": self.chunk,
            "length": self.length,
            "mode": mode,
        }
        past = self.run.history.setdefault(self._key(mode), [])
        seconds = self.seconds[mode]
        if not seconds:
            if self.hopeless:
                past.append((self.length, None, None))
            return {**line, "not_run": self.reason[mode]}
        line |= self.facts[mode]
        line |= {"seconds": seconds, "median": measure.median(seconds)}
        line["make_seconds"] = self.worker.made if self.worker else None
        over_idle = line["peak"] - (line["resident_idle"] or 0)
        past.append((self.length, line["median"], over_idle))
        if self.package == "keras_titans":
            line["operations"] = self._operations(mode)
        return line

    def _operations(self, mode):
        o = self.run.options
        per_token = flops.memory_layer(
            o.dim,
            o.heads,
            o.head_dim,
            o.depth,
            o.expansion,
            self.chunk,
            self.variant,
            mode,
        )
        return per_token * o.batch * self.length

    def stop(self):
        if self.worker:
            self.worker.stop()


def available(engines):
    return [e for e in engines if importlib.util.find_spec(e)]


def _extrapolate(points, length):
    """What grew as a power of the length, at another length."""
    (n, y), power = points[-1], 1.0
    n0, y0 = points[-2] if len(points) > 1 else (n, y)
    if n > n0 and y > 0 and y0 > 0:
        power = math.log(y / y0) / math.log(n / n0)
    return y * (length / n) ** min(max(power, 1.0), 2.2)
