"""One subprocess for each measured thing, told what to do by lines of JSON.

Both ends are here. The measured side calls `serve(make_cell)`: a cell has
`versions()`, `prepare(mode)` and `call(mode)`, for a `Worker`'s `measure`, or
methods of its own, which `ask` calls by name. The measuring side makes a
`Worker`, which watches the clock and the memory while it waits for an answer,
so a cell that is too slow or too large ends as a recorded `Stopped` and not as
a dead machine. Workers stay alive between calls, so the things compared can be
timed in turns: a busy minute then falls on all of them.
"""

import json
import math
import os
import selectors
import subprocess
import sys
import tempfile
import time
import traceback

from benchmarks import measure

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STILL = 30.0  # seconds without any work are a deadlock, not a slow call


class Stopped(Exception):
    """A worker gave no answer; the message says why, in words for a table.

    `by_limit`: time or memory was not enough, so more tokens are hopeless.
    """

    def __init__(self, reason, by_limit=False):
        super().__init__(reason)
        self.by_limit = by_limit


# --- the measured side -------------------------------------------------------


def serve(make_cell):
    """Answers commands from stdin until it ends.

    What libraries print goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    cell = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "make":
                start = time.perf_counter()
                cell = make_cell(command["spec"])
                answer = {
                    "make_seconds": time.perf_counter() - start,
                    "versions": cell.versions(),
                }
            elif command["do"] in ("prepare", "time"):
                do = {"prepare": _prepare, "time": _time}[command["do"]]
                answer = do(cell, command)
            else:
                answer = getattr(cell, command.pop("do"))(**command)
        except Exception as error:  # whatever broke is recorded, not raised
            traceback.print_exc()
            answer = {
                "error": f"{type(error).__name__}: {error}".split("\n")[0][:200]
            }
        answers.write(json.dumps(answer) + "\n")


def _prepare(cell, command):
    """Compiles and calls once; the peak starts from what is resident then."""
    mode = command["mode"]
    measure.trim()
    built, _ = measure.memory_of()
    start = time.perf_counter()
    facts = cell.prepare(mode) or {}
    first = time.perf_counter() - start
    again = None
    if first < command["patience"]:
        (again,) = measure.timed(lambda: cell.call(mode), 0.0, 1)
    measure.trim()
    restarted = measure.restart_peak()
    idle, _ = measure.memory_of()
    return {
        **facts,
        "first_call_seconds": first,
        "call_seconds": again or first,
        "resident_before": built,
        "resident_idle": idle,
        "peak_restarted": restarted,
    }


def _time(cell, command):
    """Times a burst of calls.

    A short call is first made once more, unrecorded, to bring the caches back.
    """
    mode = command["mode"]
    if command["last"] < 1.0:
        cell.call(mode)
    others = measure.Others()
    seconds = measure.timed(
        lambda: cell.call(mode),
        command["minimum_seconds"],
        command["maximum_calls"],
    )
    share = others.share(command["threads"])
    _, peak = measure.memory_of()
    whole = measure.peak_of_whole_process()
    measure.trim()
    return {
        "seconds": seconds,
        "others": share,
        "peak": peak or whole,
        "peak_of_process": whole,
    }


# --- the measuring side ------------------------------------------------------


def add_options(add, calls, seconds, call_limit, output):
    """The options of a command line that `Worker.measure` reads, and more.

    Args:
        add: The parser's `add_argument`.
        calls, seconds, call_limit, output: What they are by default;
            `output` is a name in `benchmarks/results`.
    """
    add("--threads", type=int, default=2)
    add("--calls", type=int, default=calls, help="for each figure, at most")
    add("--seconds", type=float, default=seconds, help="aim for each figure")
    add("--call-limit", type=float, default=call_limit, help="longest call")
    results = os.path.join(ROOT, "benchmarks", "results")
    add("--output", default=os.path.join(results, output))
    add("--report-only", action="store_true", help="table and plot again")


def hopeless(shorter, length, call_limit):
    """Why a longer sequence need not be tried, or None.

    Time is taken to grow on as it did last, and at least in proportion.

    Args:
        shorter: The lines of the same at shorter lengths, the longest last.
        length: Of the longer sequence.
        call_limit: Seconds that a call may take.
    """
    if not shorter:
        return None
    last = shorter[-1]
    if "not_run" in last:
        return last["not_run"]
    power = 1.0
    if len(shorter) > 1:
        gain, growth = (
            math.log(last[x] / shorter[-2][x]) for x in ("median", "length")
        )
        power = max(power, gain / growth)
    seconds = last["median"] * (length / last["length"]) ** power
    if seconds > call_limit:
        return f"predicted {seconds:.0f} s"
    return None


class Worker:
    """A subprocess that runs `module` under `python` and answers commands.

    Args:
        python: The interpreter.
        module: A module that calls `serve` when it is run.
        environment: Variables to add to this process's own.
        limit_bytes: The worker is stopped when more than this is resident.
    """

    def __init__(self, python, module, environment=None, limit_bytes=None):
        self.limit_bytes = limit_bytes
        given = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([ROOT, given] if given else [ROOT])
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            [python, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        )

    def ask(self, timeout, **command):
        """Sends a command and waits for its answer.

        Raises `Stopped` on a timeout, too much memory or an error.
        """
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise Stopped(self._last_words()) from None
        deadline = time.monotonic() + timeout
        self.last_sign = time.monotonic(), 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not selector.select(0.1):
                self._watch(deadline, timeout)
        line = self.process.stdout.readline()
        if not line:
            raise Stopped(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise Stopped(answer["error"])
        return answer

    def measure(self, mode, options, patience=5.0):
        """Prepares one mode and times it.

        Args:
            mode: The cell's mode.
            options: `call_limit` and `seconds` in seconds, `calls` and
                `threads`: the longest call, how long to time calls, the most
                of them, and the threads that they are given.
            patience: A first call that took less, in seconds, compilation
                included, is made again before memory is taken for idle.

        Returns:
            The entries of a line: those of `_prepare` and `_time`, and the
            `median` of the calls in seconds.
        """
        facts = self.ask(
            240 + 3 * options.call_limit,
            do="prepare",
            mode=mode,
            patience=patience,
        )
        answer = self.ask(
            60 + 3 * options.call_limit,
            do="time",
            mode=mode,
            minimum_seconds=options.seconds,
            maximum_calls=options.calls,
            last=facts["call_seconds"],
            threads=options.threads,
        )
        return facts | answer | {"median": measure.median(answer["seconds"])}

    def _watch(self, deadline, timeout):
        now = time.monotonic()
        work = measure.processor_seconds(self.process.pid)
        if work is None or work > self.last_sign[1] + 0.02:
            self.last_sign = now, work or 0.0
        if now - self.last_sign[0] > STILL:
            self.stop(kill=True)
            raise Stopped(f"stood still for {STILL:.0f} s")
        resident, _ = measure.memory_of(self.process.pid)
        available, total = measure.available_memory()
        if now > deadline:
            self.stop(kill=True)
            raise Stopped(f"took > {timeout:.0f} s", by_limit=True)
        if resident and self.limit_bytes and resident > self.limit_bytes:
            self.stop(kill=True)
            raise Stopped(f"needs > {resident / measure.GIB:.1f} GiB", True)
        if (
            resident
            and available
            and available < total / 16
            and resident > total / 4
        ):
            self.stop(kill=True)
            raise Stopped(f"needs > {resident / measure.GIB:.1f} GiB", True)

    def _last_words(self):
        code = self.process.wait()
        self.log.seek(0)
        lines = [
            line.strip()
            for line in self.log.read().splitlines()
            if line.strip()
        ]
        return f"ended with status {code}" + (
            f": {lines[-1][:160]}" if lines else ""
        )

    def stop(self, kill=False):
        """Ends the subprocess: by closing its input, or at once."""
        if self.process.poll() is None:
            if kill:
                self.process.kill()
            else:
                self.process.stdin.close()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            try:
                stream.close()
            except OSError:
                pass
