"""What a benchmark reads off its own process and off the machine it runs on.

Only the standard library: a peer's interpreter, which has nothing of ours
installed, imports it too. Memory comes from `/proc` (Linux). Elsewhere the peak
is the whole process's, from `getrusage`, and the rest is None.
"""

import ctypes
import gc
import os
import platform
import statistics
import sys
import time

MIB = 1024 * 1024
GIB = 1024 * MIB


def memory_of(pid="self"):
    """`(resident, peak resident)` bytes of a process; None where unknown."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        return tuple(
            int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")
        )
    except (OSError, KeyError):
        return None, None


def processor_seconds(pid):
    """Processor time of a process so far; None where unknown."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def peak_of_whole_process():
    """Peak resident bytes since the start, imports and compilation included."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def trim():
    """Gives back what is no longer used, so that resident means in use."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass


def restart_peak():
    """Sets the peak back to what is resident now. False where it cannot."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        return True
    except OSError:
        return False


def available_memory():
    """`(available, total)` bytes of the machine; None where unknown."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return tuple(
            int(fields[name].split()[0]) * 1024
            for name in ("MemAvailable", "MemTotal")
        )
    except (OSError, KeyError):
        return None, None


def use_cores(count):
    """Keeps this process on `count` physical cores, for every engine alike.

    No two of them are hyperthreads of one.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    chosen, taken = [], set()
    for core in sorted(os.sched_getaffinity(0)):
        try:
            topology = f"/sys/devices/system/cpu/cpu{core}/topology"
            path = topology + "/thread_siblings_list"
            with open(path, encoding="ascii") as file:
                siblings = file.read().strip()
        except OSError:
            siblings = str(core)
        if siblings not in taken:
            taken.add(siblings)
            chosen.append(core)
    os.sched_setaffinity(0, chosen[:count])


class Others:
    """How much of the machine other processes took while this one worked."""

    def __init__(self):
        self.start = self._read()

    def share(self, threads):
        """Their time on the `threads` cores that we needed, 0 to 1.

        Cores that we leave free are theirs at no cost to us. None where the
        system does not tell.
        """
        if self.start is None:
            return None
        wall, busy, own = (
            now - then
            for now, then in zip(self._read(), self.start, strict=True)
        )
        free = max(os.cpu_count() - threads, 0)
        taken = (busy - own) / max(wall, 1e-9) - free
        return min(max(taken / threads, 0.0), 1.0)

    def _read(self):
        try:
            with open("/proc/stat", encoding="ascii") as file:
                ticks = [int(word) for word in file.readline().split()[1:9]]
        except (OSError, ValueError):
            return None
        user, nice, system, _, _, irq, softirq, steal = ticks
        busy = user + nice + system + irq + softirq + steal
        times = os.times()
        own = times.user + times.system
        return time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), own


def wait_for_quiet(threads, share, seconds):
    """Waits until others leave us our cores, at most `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        others = Others()
        time.sleep(0.25)
        if (others.share(threads) or 0.0) < share:
            return


def timed(function, minimum_seconds, maximum_calls):
    """Wall seconds of each call.

    Ends when the calls took `minimum_seconds` or there are `maximum_calls`.
    """
    seconds = []
    while len(seconds) < maximum_calls and (
        not seconds or sum(seconds) < minimum_seconds
    ):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def median(values):
    """The median, or None of nothing."""
    values = list(values)
    return statistics.median(values) if values else None


def describe_machine():
    """What a reader needs to judge the figures, and nothing that names it."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(
                line.split(":", 1)[1].strip()
                for line in file
                if line.startswith("model name")
            )
    except (OSError, StopIteration):
        pass
    _, total = available_memory()
    return {
        "kind": "machine",
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": total and round(total / GIB, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_at_start": [round(load, 2) for load in os.getloadavg()]
        if hasattr(os, "getloadavg")
        else None,
    }


def describe_command(arguments=None, hide=("--peer-python", "--output")):
    """The command line, without the paths: they name one machine."""
    arguments = list(sys.argv if arguments is None else arguments)
    module, _ = os.path.splitext(os.path.basename(arguments[0]))
    words = ["python", "-m", f"benchmarks.{module}"]
    hidden = False
    for word in arguments[1:]:
        name, equals, _ = word.partition("=")
        if equals and name in hide:
            word = f"{name}=PATH"
        words.append("PATH" if hidden else word)
        hidden = word in hide
    return " ".join(words)
