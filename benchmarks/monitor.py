"""What watching the memories costs.

    python -m benchmarks.monitor                     # about ten minutes
    python -m benchmarks.monitor --engines jax

Training of a small causal language model, with `keras_titans.callbacks`'
`MemoryMonitor` at its default rate and without it. An epoch has as many steps
as there are between two looks, so one with the monitor has one look in it.
Epochs with and without take turns; their medians are compared. Then what a look
takes by itself, for the event files and with images. Writes a table and the raw
lines to `benchmarks/results/`.
"""

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time

from benchmarks import measure
from benchmarks.markdown import table
from benchmarks.shared_width import memory_of

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS = 256  # of the vocabulary


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--engines", nargs="+", default=["jax", "tensorflow", "torch"])
    add("--mixers", nargs="+", default=["MAG", "LMM"])
    add("--dim", type=int, default=64)
    add("--heads", type=int, default=2)
    add("--length", type=int, default=256)
    add("--batch", type=int, default=8)
    add("--epochs", type=int, default=7, help="of each kind")
    add("--threads", type=int, default=2)
    add("--output", default=os.path.join(HERE, "results/monitor"))
    add("--worker", help=argparse.SUPPRESS)
    add("--report-only", action="store_true", help="the table again")
    return parser.parse_args(arguments)


def make_model(options):
    import keras

    from keras_titans.layers import TitansBlock

    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(TOKENS, options.dim)(tokens)
    for mixer in options.mixers:
        x = TitansBlock(
            mixer,
            2 * options.dim,
            num_heads=options.heads,
            memory=memory_of(mixer, options.dim, options.heads),
        )(x)
    x = keras.layers.RMSNormalization()(x)
    model = keras.Model(tokens, keras.layers.Dense(TOKENS)(x))
    model.compile(
        "adam",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() != "torch",
    )
    return model


def work(options):
    """Print the line of one engine. Run in a process of its own."""
    measure.use_cores(options.threads)
    import keras
    import numpy as np

    from keras_titans.callbacks import MemoryMonitor

    class Alternating(MemoryMonitor):
        """Looks once in every second epoch; takes the time of all."""

        def on_train_begin(self, logs=None):
            self.looks = []
            self.epochs = {False: [], True: []}
            super().on_train_begin(logs)

        def on_epoch_begin(self, epoch, logs=None):
            self.watches = bool(epoch % 2)
            self.start = time.perf_counter()

        def on_train_batch_begin(self, batch, logs=None):
            pass

        def on_epoch_end(self, epoch, logs=None):
            if self.watches:
                super().on_epoch_end(epoch, logs)
            else:
                self._before = self._done
            self.epochs[self.watches].append(time.perf_counter() - self.start)

        def _look(self, *arguments, **named):
            start = time.perf_counter()
            super()._look(*arguments, **named)
            self.looks.append(time.perf_counter() - start)

    default = inspect.signature(MemoryMonitor).parameters
    steps = default["frequency"].default
    model = make_model(options)
    rng = np.random.default_rng(0)
    shape = (steps * options.batch, options.length + 1)
    text = rng.integers(0, TOKENS, shape, dtype="int32")
    x, y = text[:, :-1], text[:, 1:]

    def fit(epochs, rows, **settings):
        with tempfile.TemporaryDirectory() as folder:
            monitor = Alternating(x[:1], folder, **settings)
            model.fit(
                x[:rows],
                y[:rows],
                options.batch,
                2 * epochs,
                verbose=0,
                callbacks=[monitor],
            )
        return monitor

    fit(1, options.batch)  # compiles the step
    others = measure.Others()
    monitor = fit(options.epochs, len(text), image_frequency=None)
    share = others.share(options.threads)
    pictures = fit(3, options.batch, frequency=1, image_frequency=1)
    line = {
        "kind": "cell",
        "engine": keras.backend.backend(),
        "keras": keras.version(),
        "parameters": model.count_params(),
        "steps": steps,
        "image_steps": default["image_frequency"].default,
        "without": monitor.epochs[False],
        "with": monitor.epochs[True],
        "look": measure.median(monitor.looks[1:]),  # the first compiles
        "look_with_images": measure.median(pictures.looks[1:]),
        "others": share,
    }
    print(json.dumps(line))


def run(options):
    os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
    names = ("mixers", "dim", "heads", "length", "batch", "epochs", "threads")
    common = {name: getattr(options, name) for name in names}
    lines = [
        measure.describe_machine(),
        {"kind": "command", "command": measure.describe_command(), **common},
    ]
    for engine in options.engines:
        environment = {
            **os.environ,
            "KERAS_BACKEND": engine,
            "OMP_NUM_THREADS": str(options.threads),
        }
        command = [sys.executable, "-m", "benchmarks.monitor"]
        command += [*sys.argv[1:], "--worker", engine]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, check=True
        )
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(*row(lines[-1]), flush=True)
    with open(options.output + ".jsonl", "w", encoding="utf-8") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def row(cell):
    with_, without = (measure.median(cell[k]) for k in ("with", "without"))
    step = without / cell["steps"]
    images = cell["look_with_images"] - cell["look"]
    share = images / (cell["image_steps"] * step)
    return [
        cell["engine"],
        f"{1e3 * step:.1f}",
        f"{min(cell['without']) / without:.3f} to "
        f"{max(cell['without']) / without:.3f}",
        f"{with_ / without:.3f}",
        f"{1e3 * cell['look']:.0f}",
        f"{1e3 * images:.0f}",
        f"{100 * share:.1f} %",
    ]


def report(output):
    with open(output + ".jsonl", encoding="utf-8") as file:
        machine, spec, *cells = (json.loads(line) for line in file)
    rows = [
        "# What watching the memories costs",
        "",
        f"`{spec['command']}`",
        "",
        f"{machine['processor']}, {spec['threads']} of {machine['cores']} "
        f"cores. Blocks {', '.join(spec['mixers'])} of width {spec['dim']}, "
        f"{cells[0]['parameters']:,} weights, batches of {spec['batch']} x "
        f"{spec['length']} tokens. `MemoryMonitor` with a `log_dir` reads one "
        f"row every {cells[0]['steps']} steps, its default. Medians over "
        f"{spec['epochs']} epochs with one look and as many without, in turns.",
        "",
        *table(
            [
                "engine",
                "ms a step",
                "spread of epochs without",
                "with / without",
                "ms a look",
                "ms its images",
                f"their share, every {cells[0]['image_steps']:,} steps",
            ],
            map(row, cells),
        ),
    ]
    with open(output + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    print("\n".join(rows))


def main():
    options = parse()
    if options.worker:
        work(options)
        return
    if not options.report_only:
        run(options)
    report(options.output)


if __name__ == "__main__":
    main()
