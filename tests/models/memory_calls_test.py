"""A call from a memory of its own: what it returns, and in threads."""

import threading

import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.models import MemorySnapshot
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansByteTokenizer
from keras_titans.models import TitansCausalLM
from keras_titans.models import TitansCausalLMPreprocessor
from tests.helpers import ROUNDING
from tests.helpers import close
from tests.helpers import randomized
from tests.helpers import same
from tests.helpers import to_numpy

VOCABULARY, LENGTH, READ = 259, 8, 5
IDS = np.random.default_rng(0).integers(97, 123, (2, LENGTH)).astype("int32")
HISTORY = IDS[:, ::-1]
MASK = np.arange(LENGTH) < np.array([[LENGTH], [READ]])
INPUTS = {"token_ids": IDS, "padding_mask": MASK}
PROMPTS = {
    "token_ids": IDS,
    "padding_mask": np.repeat(np.arange(LENGTH)[None] < 3, 2, axis=0),
}


@pytest.fixture(autouse=True, scope="module")
def float64_where_asked_for():
    """Nowhere: KerasHub's samplers mix JAX's two kinds of whole numbers."""


def language_model(preprocessor=None):
    memory = NeuralMemory(2, 4, chunk_size=4)
    backbone = TitansBackbone(
        VOCABULARY, 1, 8, 2, 12, mixers="MAG", memory=memory, window_size=4
    )
    randomized(backbone)
    model = TitansCausalLM(backbone, preprocessor)
    model.compile(sampler="greedy")
    return model


@pytest.fixture(scope="module")
def model():
    return language_model()


@pytest.fixture(scope="module")
def of_text():
    tokenizer = TitansByteTokenizer()
    return language_model(TitansCausalLMPreprocessor(tokenizer, LENGTH))


@pytest.fixture(autouse=True)
def nothing_kept(model, of_text):
    model.reset_memory()
    of_text.reset_memory()


def generate(model, prompts=PROMPTS, **options):
    """Token ids; and the memory where it is asked for."""
    results = model.generate(dict(prompts), stop_token_ids=None, **options)
    if not options.get("return_memory"):
        return results["token_ids"]
    return results[0]["token_ids"], results[1]


def same_memory(have, want):
    close(have.state, want.state, ROUNDING)
    assert have.tokens.tolist() == want.tokens.tolist()
    assert have.fingerprint == want.fingerprint


def test_memorize_returns_the_memory_after(model):
    fresh = model.get_memory()
    first = model.memorize(HISTORY, memory=fresh)
    both = model.memorize(INPUTS, memory=first)
    assert model.get_memory().tokens.tolist() == [0]
    assert model.memorize(HISTORY) is None
    same_memory(model.get_memory(), first)
    model.memorize(INPUTS)
    same_memory(model.get_memory(), both)
    assert both.tokens.tolist() == [2 * LENGTH, LENGTH + READ]


def test_generate_starts_from_it_and_returns_the_next(model):
    memory = model.memorize(HISTORY, memory=model.get_memory())
    fresh = generate(model)
    have, after = generate(model, memory=memory, return_memory=True)
    model.set_memory(memory)
    np.testing.assert_array_equal(generate(model), have)
    assert (have != fresh).any()
    kept, returned = generate(model, return_memory=True, keep_memory=True)
    np.testing.assert_array_equal(kept, have)
    same_memory(model.get_memory(), after)
    same_memory(returned, after)
    same_memory(model.memorize(have, memory=memory), after)


# Eager calls take long where each loop is compiled, or traced, anew.
SLOW_EAGERLY = pytest.mark.slow_on("jax", "tensorflow")


@pytest.mark.parametrize(
    "call", [pytest.param("score", marks=SLOW_EAGERLY), "predict"]
)
def test_outputs_go_on_from_it(call, model):
    """As after one call that reads all; padding changes no memory."""

    def run(token_ids, mask, **options):
        if call == "score":
            return model.score(token_ids, mask, **options)
        inputs = {"token_ids": token_ids, "padding_mask": mask}
        return model.predict(inputs, batch_size=1, verbose=0, **options)

    history, real = [HISTORY, np.ones_like(MASK)]
    whole = np.concatenate([history, IDS], axis=1)
    want = run(whole, np.concatenate([real, MASK], axis=1))
    first, memory = run(history, real, return_memory=True)
    close(first, to_numpy(want)[:, :LENGTH], ROUNDING)
    have, after = run(IDS, MASK, memory=memory, return_memory=True)
    want = to_numpy(want)[:, LENGTH:]
    close(to_numpy(have)[MASK], want[MASK], ROUNDING)
    same_memory(after, model.memorize(INPUTS, memory=memory))
    alone = to_numpy(run(IDS, MASK, memory=memory.rows(0)))
    close(alone[0], to_numpy(have)[0], ROUNDING)
    assert np.abs(alone[1] - to_numpy(have)[1]).max() > 0.01


@SLOW_EAGERLY
def test_texts_and_batches_take_their_rows(of_text):
    texts, places = ["ab", "cd", "ef"], [0, 1, 2]
    fresh = of_text.get_memory().rows([0, 0, 0])
    memory = of_text.memorize(["xyz", "uvwabc", "rst"], memory=fresh)
    want = [of_text.generate(texts[i], memory=memory.rows(i)) for i in places]
    have, after = of_text.generate(texts, memory=memory, return_memory=True)
    assert have == want and len(set(want)) == 3 and len(after) == 3
    whole = of_text.predict(texts, verbose=0, memory=memory)
    one_by_one = [np.array([text]) for text in texts]
    have = of_text.predict(
        iter(one_by_one), verbose=0, memory=memory, return_memory=True
    )
    close(have[0], whole, ROUNDING)
    assert len(have[1]) == 3
    with pytest.raises(ValueError, match="3 rows.*Received: 2 rows"):
        of_text.predict(iter(one_by_one[:2]), verbose=0, memory=memory)


@pytest.mark.slow_on("jax", "tensorflow")
def test_datasets_take_their_rows(of_text):
    tf = pytest.importorskip("tensorflow")
    texts = tf.data.Dataset.from_tensor_slices(["ab", "cd", "ef"]).batch(2)
    fresh = of_text.get_memory().rows([0, 0, 0])
    memory = of_text.memorize(["xyz", "uvwabc", "rst"], memory=fresh)
    want = of_text.generate(["ab", "cd", "ef"], memory=memory)
    have, after = of_text.generate(texts, memory=memory, return_memory=True)
    assert have == want and len(after) == 3
    have = of_text.predict(texts, verbose=0, memory=memory)
    want = of_text.predict(["ab", "cd", "ef"], verbose=0, memory=memory)
    close(have, want, ROUNDING)
    with pytest.raises(ValueError, match="2 rows.*Received: 3 rows"):
        of_text.generate(texts, memory=memory.rows([0, 1]))


CALLS = {
    "generate": lambda model, memory: generate(model, memory=memory),
    "score": lambda model, memory: model.score(IDS, memory=memory),
    "predict": lambda model, memory: model.predict(
        INPUTS, verbose=0, memory=memory
    ),
    "memorize": lambda model, memory: model.memorize(IDS, memory=memory),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_memory_of_the_model_is_refused(call, model):
    call = CALLS[call]
    for other in (NeuralMemory(2), {}, "my.memory", [], False):
        name = type(other).__name__
        with pytest.raises(ValueError, match=f"`memory` must be.*{name}"):
            call(model, other)
    memory = model.get_memory()
    with pytest.raises(ValueError, match="3 rows.*Received: 2 rows"):
        call(model, memory.rows([0, 0, 0]))
    with pytest.raises(ValueError, match="another kind"):
        call(model, MemorySnapshot({"x": np.ones(2)}))
    other = memory.fingerprint._replace(weights="0" * 32)
    with pytest.raises(ValueError, match="other weights"):
        call(model, MemorySnapshot(memory.state, other))


def test_a_memory_is_the_callers_or_the_models(model):
    with pytest.raises(ValueError, match="`keep_memory` must be False"):
        generate(model, memory=model.get_memory(), keep_memory=True)


def in_threads(*functions):
    """What each function returns, of all that run at once."""
    results, errors = [None] * len(functions), []
    ready = threading.Barrier(len(functions))

    def run(place, function):
        try:
            ready.wait()
            results[place] = function()
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=arguments)
        for arguments in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return results


@pytest.mark.parametrize(
    "run_eagerly", [False, pytest.param(True, marks=SLOW_EAGERLY)]
)
def test_users_do_not_hear_of_each_other(run_eagerly):
    model = language_model()
    fresh = model.get_memory()
    memories = [model.memorize(x, memory=fresh) for x in (HISTORY, IDS)]
    # Nothing is compiled yet: what threads make, they make at once.
    model.compile(sampler="greedy", run_eagerly=run_eagerly)

    def serve(memory):
        answers = []
        for _ in range(3):
            ids, after = generate(model, memory=memory, return_memory=True)
            logits, read = model.predict(
                INPUTS, verbose=0, memory=memory, return_memory=True
            )
            score = to_numpy(model.score(IDS, MASK, memory=memory))
            answers.append([ids, logits, score, after.state, read.state])
        return answers

    have = in_threads(*(lambda m=m: serve(m) for m in memories * 2))
    want = [serve(memory)[0] for memory in memories] * 2
    for answers, right in zip(have, want, strict=True):
        for answer in answers:
            close(answer, right, ROUNDING)
    assert (want[0][0] != want[1][0]).any()


def test_no_thread_loses_what_another_memorizes(model):
    fresh = model.get_memory()
    in_threads(*[lambda: [model.memorize(IDS) for _ in range(3)]] * 4)
    assert model.get_memory().tokens.tolist() == [12 * LENGTH] * 2
    after = fresh
    for _ in range(12):
        after = model.memorize(IDS, memory=after)
    same_memory(model.get_memory(), after)


def test_generation_is_kept_beside_generation_that_is_not(model):
    model.set_memory(model.get_memory().rows([0, 0]))
    memory = model.memorize(HISTORY, memory=model.get_memory())
    want = generate(model, memory=memory)
    keep = lambda: [generate(model, keep_memory=True) for _ in range(3)]
    plain = lambda: [generate(model, memory=memory) for _ in range(6)]
    *_, answers = in_threads(keep, keep, lambda: generate(model), plain)
    same(answers, [want] * 6)
    assert model.get_memory().tokens.tolist() == [6 * LENGTH] * 2
