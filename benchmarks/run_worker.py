"""One cell of `run.py`, in a process of its own: trained, then judged."""

import math
import time

from benchmarks import workers
from benchmarks.cell import CellWork
from benchmarks.closed_form import ClosedForm
from benchmarks.experiment import build_model
from benchmarks.experiment import build_task
from benchmarks.experiment import training_lengths
from benchmarks.judge import Judge
from benchmarks.variants import CLOSED_FORMS


def rows_of(tasks, tokens, seed, step):
    """The training batch of a step, of so many tokens: one task in turn."""
    task = tasks[step % len(tasks)]
    rows = tokens // task.length
    return next(task.training(seed, rows, first_step=step))


def training_steps(tasks, tokens, seed, first, count):
    """A range of the training steps, as what `fit` takes."""
    import keras

    class Steps(keras.utils.PyDataset):
        def __len__(self):
            return count

        def __getitem__(self, index):
            return rows_of(tasks, tokens, seed, first + index)[:3]

    return Steps()


def optimizer(configuration):
    """AdamW with warm-up and cosine; only matrices decay."""
    import keras

    peak, steps = configuration["learning_rate"], configuration["steps"]
    warmup = min(max(round(configuration["warmup"] * steps), 1), steps - 1)
    return keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(
            0.0,
            max(steps - warmup, 1),
            alpha=0.1,
            warmup_target=peak,
            warmup_steps=warmup,
        ),
        weight_decay=configuration["weight_decay"],
        global_clipnorm=1.0,
    )


def compile_model(model, task, configuration):
    import keras

    loss = keras.losses.MeanSquaredError()
    if hasattr(task, "vocabulary_size"):
        # The mean over what is asked for, however much of a row that is.
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )
    model.compile(optimizer(configuration), loss)
    vectors = [v for v in model.trainable_variables if len(v.shape) < 2]
    model.optimizer.exclude_from_weight_decay(var_list=vectors)


class Training(CellWork):
    """A model and how far its training is.

    Args:
        spec: `{"configuration": ..., "seed": ...}` of a cell.
    """

    def __init__(self, spec):
        import keras

        from keras_titans.models import SegmentedTrainer

        self.configuration, self.seed = spec["configuration"], spec["seed"]
        keras.utils.set_random_seed(self.seed)
        task = build_task(self.configuration)
        self.task = task
        self.tasks = [
            task
            if length == task.length
            else build_task(self.configuration, length)
            for length in training_lengths(self.configuration)
        ]
        self.model = build_model(self.configuration, task)
        self.carries = self.configuration["mixer"] != "transformer"
        self.trained = self.model
        if self.carries and "carried" in self.configuration:
            self.trained = SegmentedTrainer(self.model, task.length)
        compile_model(self.trained, task, self.configuration)
        self.step, self.judge = 0, None

    @property
    def weights(self):
        return self.model.weights

    def train(self, steps):
        """So many steps more: their mean loss and their seconds."""
        start = time.perf_counter()
        tokens = self.configuration["batch_size"] * self.task.length
        data = training_steps(self.tasks, tokens, self.seed, self.step, steps)
        history = self.trained.fit(data, shuffle=False, verbose=0).history
        self.step += steps
        loss = float(history["loss"][-1])
        return {
            "loss": loss if math.isfinite(loss) else None,
            "seconds": time.perf_counter() - start,
        }

    def score(self, length, count):
        """The task's metrics at a length, and how long judging took."""
        start = time.perf_counter()
        if self.judge is None:
            self.judge = Judge(
                self.model,
                self.task,
                self.configuration["length"],
                self.configuration["judge_batch"],
                self.carries,
            )
        score = self.judge.score(length, count)
        return {"score": score, "seconds": time.perf_counter() - start}


def make(spec):
    """The work of a cell: trained by steps, or solved for."""
    closed = spec["configuration"]["mixer"] in CLOSED_FORMS
    return (ClosedForm if closed else Training)(spec)


if __name__ == "__main__":
    workers.serve(make)
