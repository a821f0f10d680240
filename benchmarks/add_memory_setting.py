"""Sizes, and what is read, in training and after it, of `add_memory.py`."""

import keras
import numpy as np

HELD_OUT_FROM = 1980
VOCABULARY = 1024
WIDTH, LAYERS, HEADS, WINDOW = 64, 2, 4, 32
LORA_RANK = 8
SHORT, DENSE, LONG = 128, 256, 1024  # tokens of a piece in training
READ = 2048  # tokens of a held-out piece
# Another layer's window begins where this one's ends.
REACH = LAYERS * (WINDOW - 1)
DISTANCES = (0, REACH, 128, 256, 512, 1024, READ)  # borders of what is told
DRAWN = (20, 75, 160, 330, 660, 1150)
FACTS = 2 * len(DRAWN)

# What is trained on: without a memory the first, with one the other two.
STAGES = (
    {
        "rows": 32,
        "length": SHORT,
        "facts": 1,
        "told_until": 0.7,
        "asks": 2,
        "text_weight": 1.0,
    },
    {
        "rows": 16,
        "length": DENSE,
        "facts": 6,
        "told_until": 1.0,
        "asks": 2,
        "text_weight": 0.0,
    },
    {
        "rows": 4,
        "length": LONG,
        "facts": 8,
        "told_until": 0.7,
        "asks": 1,
        "text_weight": 1.0,
    },
)


class Pieces(keras.utils.PyDataset):
    """New ones at each step, the same for every model."""

    def __init__(self, planting, text, steps, **options):
        super().__init__()
        self.planting, self.text, self.steps = planting, text, steps
        self.options = options

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng((self.options["length"], index))
        return self.planting.training_rows(rng, self.text, **self.options)


def held_out(planting, text, count, seed=0):
    """Pieces, what is planted in them, and where facts are asked for."""
    rng = np.random.default_rng(seed)
    rows, is_planted, ends = [], [], []
    for piece in np.split(text, range(READ, len(text), READ))[:count]:
        told = rng.uniform(0, READ - max(DRAWN) - 400, FACTS)
        asked = told + np.repeat(DRAWN, FACTS // len(DRAWN))
        _, tell, ask = planting.draw_facts(rng, FACTS)
        row, planted, row_ends = planting.plant(
            piece, np.concatenate([told, asked]), tell + ask
        )
        rows.append(row[: READ + 1])
        is_planted.append(planted[1 : READ + 1])
        ends.append(row_ends)
    return np.stack(rows), np.stack(is_planted), np.stack(ends)


def edges():
    return [0, *(WINDOW * 2 ** np.arange(20)[: _doublings()]), READ]


def _doublings():
    return int(np.ceil(np.log2(READ / WINDOW)))
