"""Lines as `benchmarks.run` writes them, with scores of our choice."""

from benchmarks.experiment import Experiment


def experiment(name, task, options, models, **change):
    sizes = {"parameters": 1000, "steps": 40, "batch_size": 2, "length": 16}
    return Experiment(
        name, task, options, models=tuple(models), **(sizes | change)
    )


def line(of, model, scores, seed=0, **change):
    """A line; `scores` are those by length."""
    made = {
        "configuration": of.configuration(model),
        "seed": seed,
        "backend": "jax",
        "machine": {"processor": "P", "cores": 2, "memory_gib": 4.0},
        "versions": {"keras": "3"},
        "device": "cpu",
        "parameters": 1001,
        "tokens": of.steps * of.batch_size * of.length,
        "slice_steps": 2,
        "train_seconds": [9.0, *[0.064] * 19],
        "loss": [2.0] * 20,
        "peak_bytes_of_training": 3 * 1024 * 1024,
        "peak_device_bytes_of_training": None,
        "scores": {str(length): score for length, score in scores.items()},
        "not_run": {},
    }
    return made | change


def found(share, **more):
    return {"exact_match": share, "nats": 1.0, **more}
