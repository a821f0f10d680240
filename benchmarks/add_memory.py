"""What a memory adds to a language model that was trained without one.

    python -m benchmarks.add_memory

A small Mistral decoder of KerasHub's, whose attention looks back over a short
window, is trained on short pieces of presidents' addresses with planted facts
("The special number for the tax is 4719."). Then it is frozen, and trained no
further: `add_memory` puts a memory beside its attentions, and memories and
gates alone are trained, first on the facts in pieces where they are many, then
on longer pieces and all of their text. Beside it LoRA updates of the same
frozen model are trained on the same pieces, to tell the memory from the
training.

All three read held-out addresses, longer than any in training: their perplexity
on the text by position, and how many facts they know by how far back they were
told.
"""

import argparse
import json
import pathlib
import shlex
import sys
import time

import keras
import keras_hub
import numpy as np

from benchmarks.add_memory_report import report
from benchmarks.add_memory_setting import DISTANCES
from benchmarks.add_memory_setting import FACTS
from benchmarks.add_memory_setting import HEADS
from benchmarks.add_memory_setting import HELD_OUT_FROM
from benchmarks.add_memory_setting import LAYERS
from benchmarks.add_memory_setting import LORA_RANK
from benchmarks.add_memory_setting import READ
from benchmarks.add_memory_setting import STAGES
from benchmarks.add_memory_setting import VOCABULARY
from benchmarks.add_memory_setting import WIDTH
from benchmarks.add_memory_setting import WINDOW
from benchmarks.add_memory_setting import Pieces
from benchmarks.add_memory_setting import edges
from benchmarks.add_memory_setting import held_out
from benchmarks.built import built
from benchmarks.variants import MATRIX
from guides.planted_facts import Planting
from guides.planted_facts import answer_tokens
from guides.planted_facts import load_addresses
from guides.planted_facts import train_tokenizer
from keras_titans.layers import NeuralMemory
from keras_titans.models import add_memory

RESULTS = pathlib.Path(__file__).parent / "results"


def make_base():
    return keras_hub.models.MistralBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=LAYERS,
        num_query_heads=HEADS,
        num_key_value_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=3 * WIDTH,
        sliding_window=WINDOW,
    )


def make_memory(layer):
    """Wide keys, so that few writes wear away what is kept."""
    return NeuralMemory(
        num_heads=1,
        head_dim=2 * WIDTH,
        **built(MATRIX),
    )


VARIANTS = {
    "base": lambda base: base,
    "LoRA": lambda base: adapted(base),
    "memory": lambda base: add_memory(base, make_memory),
}


def adapted(base):
    copy = type(base).from_config(base.get_config())
    for weight, other in zip(copy.weights, base.weights, strict=True):
        weight.assign(np.array(keras.ops.convert_to_numpy(other)))
    copy.enable_lora(LORA_RANK)
    return copy


def language_model(backbone):
    """From token ids alone to logits."""
    tokens = keras.Input((None,), dtype="int32")
    ones = keras.ops.ones_like(tokens)
    hidden = backbone({"token_ids": tokens, "padding_mask": ones})
    return keras.Model(tokens, backbone.token_embedding(hidden, reverse=True))


def train(model, pieces, peak):
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4, pieces.steps, alpha=0.05, warmup_target=peak, warmup_steps=30
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=0.01, clipnorm=1.0, beta_2=0.98
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    start = time.perf_counter()
    logs = model.fit(pieces, shuffle=False, verbose=2).history
    return {
        "steps": pieces.steps,
        "loss": logs["loss"][-1],
        "seconds": round(time.perf_counter() - start, 1),
    }


def evaluate(model, rows, is_planted, ends):
    """Perplexity by position, and recall by how far back it was told."""
    losses, right = [], []
    for row in rows:
        logits = model.predict_on_batch(row[None, :-1])[0]
        logits = logits - logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, row[1:, None], axis=-1)[:, 0]
        losses.append(np.log(np.exp(logits).sum(axis=-1)) - chosen)
        right.append(logits.argmax(axis=-1) == row[1:])
    losses, right = np.stack(losses), np.stack(right)
    in_text, borders = ~is_planted, edges()
    perplexity = [
        float(np.exp(losses[:, a:b][in_text[:, a:b]].mean()))
        for a, b in zip(borders, borders[1:], strict=False)
    ]
    told, asked = ends[:, :FACTS], ends[:, FACTS:]
    answers = answer_tokens(asked.reshape(-1))
    inside = answers.max(axis=-1) < READ
    of_row = np.repeat(np.arange(len(rows)), FACTS)
    known = right[of_row[inside, None], answers[inside]].all(axis=-1)
    apart = (asked - told).reshape(-1)[inside]
    recall = []
    for a, b in zip(DISTANCES, DISTANCES[1:], strict=False):
        here = (apart > a) & (apart <= b)
        recall.append([int(known[here].sum()), int(here.sum())])
    return {"perplexity": perplexity, "recall": recall}


def run(seed, steps, rows):
    """JSON-able results, one for each variant."""
    keras.utils.set_random_seed(seed)
    old, new = load_addresses(HELD_OUT_FROM)
    planting = Planting(train_tokenizer(old, VOCABULARY))
    old = np.concatenate([planting.encode(text) for text in old])
    new = np.concatenate([planting.encode(text) for text in new])
    test = held_out(planting, new, rows)
    pieces = [
        Pieces(planting, old, steps, **options)
        for steps, options in zip(steps, STAGES, strict=True)
    ]
    base = make_base()
    trained = train(language_model(base), pieces[0], peak=5e-3)
    for name, variant in VARIANTS.items():
        keras.utils.set_random_seed(seed)
        backbone = variant(base)
        model = language_model(backbone)
        untrained = evaluate(model, *test)
        if backbone is not base:
            for stage in pieces[1:]:
                trained = train(model, stage, peak=1e-2)
        yield {
            "variant": name,
            "seed": seed,
            "backend": keras.backend.backend(),
            "weights": model.count_params(),
            "trained": sum(
                int(np.prod(w.shape)) for w in model.trainable_variables
            ),
            **trained,
            "before": untrained,
            **evaluate(model, *test),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps",
        type=int,
        nargs=3,
        default=[600, 600, 300],
        help="of training without what is added, on facts, on long pieces",
    )
    parser.add_argument("--rows", type=int, default=12, help="held out")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True, parents=True)
    command = shlex.join(
        ["python", "-m", "benchmarks.add_memory", *sys.argv[1:]]
    )
    results = list(run(arguments.seed, arguments.steps, arguments.rows))
    path = arguments.out / "add_memory.jsonl"
    path.write_text(
        "".join(json.dumps({**r, "command": command}) + "\n" for r in results)
    )
    report(results, command, path)


if __name__ == "__main__":
    main()
