"""A memory outlives its model, a crash and a damaged disk; or says so."""

import json
import os

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import tree

from keras_titans.layers import MemoryAsContext
from keras_titans.layers import NeuralMemory
from keras_titans.layers import SlotMemory
from keras_titans.layers import TitansBlock
from keras_titans.models import MemorySnapshot
from keras_titans.models import memory_file
from keras_titans.models.fingerprint import Fingerprint
from tests.helpers import close
from tests.helpers import same
from tests.helpers import to_numpy
from tests.helpers import traced

ROWS, TOKENS, WIDTH = 3, 7, 8
MINE = Fingerprint("a" * 32, "b" * 32)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, TOKENS, WIDTH)).astype("float32")


def block(mixer="MAC", **options):
    if mixer == "slots":
        layer = TitansBlock(SlotMemory(2, 6, 4), 12, **options)
    elif mixer == "deep":  # with a chunk's start in its state
        memory = NeuralMemory(2, 4, memory_depth=2, chunk_size=4)
        layer = TitansBlock(memory, 12, **options)
    else:
        memory = None if mixer == "attention" else NeuralMemory(2, 4)
        layer = TitansBlock(mixer, 12, 2, 4, memory, **options)
    layer.build((None, None, WIDTH))
    return layer


def read(layer, x):
    return traced(lambda x: layer(x, return_state=True))(x)


def go_on(layer, x, state):
    return traced(lambda x, s: layer(x, initial_state=s))(x, state)


@pytest.fixture(scope="module")
def layer():
    return block()


@pytest.fixture(scope="module")
def state(layer):
    return read(layer, X)[1]


@pytest.fixture
def snapshot(state):
    return MemorySnapshot(state, MINE, tokens=TOKENS)


def test_what_was_read_is_gone_on_from(layer, state, snapshot, tmp_path):
    snapshot.save(tmp_path / "memory")
    again = MemorySnapshot.load(tmp_path / "memory")
    same(again.state, state)
    assert again.fingerprint == MINE
    assert again.tokens.tolist() == [TOKENS] * ROWS
    have = go_on(layer, X, again.to_state())
    same(have, go_on(layer, X, state))
    assert os.listdir(tmp_path) == ["memory"]


def test_nothing_is_shared(layer, state, snapshot):
    before = snapshot.copy()
    for array in tree.flatten(snapshot.state):
        array[...] = 0
    assert np.abs(before.state["memory"]["memory"][0]).max() > 0
    same(before.state, state)
    tensors = before.to_state()
    for array in tree.flatten(before.state):
        array[...] = 1
    same(tensors, state)


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_bfloat16_survives_to_the_bit(dtype, tmp_path):
    layer = block(dtype=dtype)
    _, state = read(layer, X)
    snapshot = MemorySnapshot(state)
    dtypes = {array.dtype.name for array in tree.flatten(snapshot.state)}
    assert dtypes == {"bfloat16", "float32", "int32"}
    snapshot.save(tmp_path / "memory")
    again = MemorySnapshot.load(tmp_path / "memory")
    bits = lambda x: x.view("uint16") if x.dtype == ml_dtypes.bfloat16 else x
    same(
        tree.map_structure(bits, again.state),
        tree.map_structure(bits, snapshot.state),
    )
    same(go_on(layer, X, again.to_state()), go_on(layer, X, state))


def test_dtypes_are_the_readers(layer):
    _, state = read(block(dtype="mixed_bfloat16"), X)
    snapshot = MemorySnapshot(state)
    spec = layer.mixer.state_spec(None)
    snapshot.check_fits(spec)
    have = go_on(layer, X, snapshot.to_state(spec))
    assert np.isfinite(to_numpy(have)).all()


@pytest.mark.parametrize("bits", ["0000", "7fc0", "ff80", "0001", "8000"])
def test_odd_numbers_survive(bits, tmp_path):
    odd = np.array([int(bits, 16)], "uint16").view(ml_dtypes.bfloat16)
    MemorySnapshot({"x": odd}).save(tmp_path / "memory")
    again = MemorySnapshot.load(tmp_path / "memory").state["x"]
    assert again.dtype == odd.dtype
    assert again.view("uint16")[0] == int(bits, 16)


def test_an_interrupted_save_leaves_the_old_file(
    snapshot, tmp_path, monkeypatch
):
    path = tmp_path / "memory"
    snapshot.save(path)
    old = path.read_bytes()
    write = np.lib.format.write_array
    calls = []

    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return write(*args, **kwargs)

    monkeypatch.setattr(np.lib.format, "write_array", fails)
    monkeypatch.setattr("numpy.lib.format.write_array", fails)
    other = MemorySnapshot(tree.map_structure(np.zeros_like, snapshot.state))
    with pytest.raises(KeyboardInterrupt):
        other.save(path)
    assert len(calls) == 4, "nothing was interrupted"
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["memory"]


def test_a_failed_replacement_leaves_the_old_file(
    snapshot, tmp_path, monkeypatch
):
    path = tmp_path / "memory"
    snapshot.save(path)

    def fails(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="disk is gone"):
        MemorySnapshot({"x": np.ones(1)}).save(path)
    same(MemorySnapshot.load(path).state, snapshot.state)


def test_a_link_stays_a_link(snapshot, tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    snapshot.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    same(MemorySnapshot.load(tmp_path / "real").state, snapshot.state)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(part, snapshot, tmp_path):
    path = tmp_path / "memory"
    snapshot.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match="memory' is"):
        MemorySnapshot.load(path)


@pytest.mark.parametrize("at", [0, 9, 40, 200, 0.3, 0.5, 0.7, 0.95, -33, -1])
def test_a_damaged_byte_is_seen_anywhere(at, snapshot, tmp_path):
    path = tmp_path / "memory"
    snapshot.save(path)
    damaged = bytearray(path.read_bytes())
    at = int(at * len(damaged)) if isinstance(at, float) else at
    damaged[at] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="memory' is .*damaged"):
        MemorySnapshot.load(path)


def foreign_files(folder):
    yield "random", RNG.bytes(5000)
    yield "text", b"a memory"
    np.savez(folder / "other.npz", x=np.ones(3))
    yield "npz", (folder / "other.npz").read_bytes()
    np.save(folder / "other.npy", np.ones(3))
    yield "npy", (folder / "other.npy").read_bytes()
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(folder / "pickle.npz", header=objects)
    yield "pickle", (folder / "pickle.npz").read_bytes()
    header = np.frombuffer(json.dumps({"format": "x"}).encode(), np.uint8)
    np.savez(folder / "header.npz", header=header)
    yield "header", (folder / "header.npz").read_bytes()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.save(folder / "model.keras")
    yield "keras", (folder / "model.keras").read_bytes()


def test_foreign_files_are_refused(tmp_path):
    kinds = []
    for kind, contents in foreign_files(tmp_path):
        path = tmp_path / f"{kind}.memory"
        path.write_bytes(contents)
        with pytest.raises(ValueError, match=rf"{kind}.memory' is"):
            MemorySnapshot.load(path)
        kinds.append(kind)
    assert len(kinds) == 7


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        MemorySnapshot.load(tmp_path / "memory")


def rewritten(path, change):
    """The file with its header changed."""
    with np.load(path) as archive:
        entries = dict(archive)
    header = json.loads(entries["header"].tobytes())
    change(header, entries)
    text = json.dumps(header).encode()
    entries["header"] = np.frombuffer(text, np.uint8)
    with path.open("w+b") as file:
        np.savez(file, **entries)
        memory_file.seal(file)


def shorter(header, entries):
    entries["array_1"] = entries["array_1"][:-1]


def dtype(header, entries):
    entries["array_0"] = entries["array_0"].astype("float64")


def lost(header, entries):
    del entries["array_2"]


def counted_otherwise(header, entries):
    header["tokens"].append(1)


def named_twice(header, entries):
    header["structure"]["memory"]["phase"] = 0


def no_structure(header, entries):
    del header["structure"]


def half_a_token(header, entries):
    header["tokens"][0] = 6.5


def fewer_than_no_tokens(header, entries):
    header["tokens"][0] = -1


def no_fingerprint(header, entries):
    header["fingerprint"]["weights"] = 5


@pytest.mark.parametrize(
    "change",
    [
        shorter,
        dtype,
        lost,
        counted_otherwise,
        named_twice,
        no_structure,
        half_a_token,
        fewer_than_no_tokens,
        no_fingerprint,
    ],
)
def test_contents_that_do_not_agree_are_refused(change, snapshot, tmp_path):
    snapshot.save(tmp_path / "memory")
    rewritten(tmp_path / "memory", change)
    with pytest.raises(ValueError, match="is damaged"):
        MemorySnapshot.load(tmp_path / "memory")


def test_another_version_is_refused(snapshot, tmp_path):
    path = tmp_path / "memory"
    snapshot.save(path)
    rewritten(path, lambda header, entries: header.update(version=2.0))
    with pytest.raises(ValueError, match=r"version 2\. .*reads version 3\."):
        MemorySnapshot.load(path)
    path.write_bytes(path.read_bytes()[:-1] + b"0")  # as if without a checksum
    with pytest.raises(ValueError, match="version 2"):
        MemorySnapshot.load(path)


def test_whose_memory_it_is(layer, snapshot):
    spec = layer.mixer.state_spec(None)
    snapshot.check_fits(spec, MINE)
    with pytest.raises(ValueError, match="other weights"):
        snapshot.check_fits(spec, MINE._replace(weights="other"))
    snapshot.check_fits(spec, MINE._replace(weights="other"), strict=False)
    with pytest.raises(ValueError, match="another architecture"):
        other = MINE._replace(architecture="other")
        snapshot.check_fits(spec, other, strict=False)
    wider = MemoryAsContext(2, 5, NeuralMemory(2, 4))
    wider.build((None, None, WIDTH))
    with pytest.raises(ValueError, match="'attention/key'.*shape"):
        snapshot.check_fits(wider.state_spec(None))
    alone = NeuralMemory(2, 4)
    alone.build((None, None, WIDTH))
    with pytest.raises(ValueError, match="lacks.*convolution"):
        snapshot.check_fits(alone.state_spec(None))


def test_rows_are_taken_and_joined(layer, snapshot):
    first, others = snapshot.rows(0), snapshot.rows([2, 1])
    assert (len(first), len(others)) == (1, 2)
    whole = to_numpy(go_on(layer, X, snapshot.to_state()))
    part = go_on(layer, X[[2, 1]], others.to_state())
    close(part, whole[[2, 1]], 1e-6)
    back = MemorySnapshot.join([first, others]).rows([0, 2, 1])
    same(back.state, snapshot.state)
    same(snapshot.rows(slice(1, None)).state, snapshot.rows([1, 2]).state)
    mask = np.array([False, True, False])
    same(snapshot.rows(mask).state, snapshot.rows(-2).state)
    with pytest.raises(ValueError, match="indices.*3 rows"):
        snapshot.rows(3)


MIXERS = ["MAC", "MAG", "MAL", "LMM", "deep", "attention", "slots"]


def entry_name(path):
    return [key for key in path if isinstance(key, str)][-1]


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_merged_memory_has_just_read_nothing(mixer):
    """What lasts is averaged, what is of the last tokens is gone."""
    layer = block(mixer)
    _, state = read(layer, X)
    snapshot = MemorySnapshot(state)
    one, two = snapshot.rows(0), snapshot.rows(1)
    merged = MemorySnapshot.merge([one, two], [3, 1])
    merged.check_fits(layer.mixer.state_spec(None))
    entries = lambda s: dict(tree.flatten_with_path(s.state))
    first, second, have = entries(one), entries(two), entries(merged)
    found = set()
    for path, array in have.items():
        name = entry_name(path)
        found.add(name)
        if name in ("memory", "momentum"):
            want = 0.75 * first[path] + 0.25 * second[path]
            np.testing.assert_allclose(array, want, rtol=1e-5, atol=1e-7)
            assert np.abs(first[path] - second[path]).max() > 1e-4
        elif name in ("anchor", "start"):
            within = ("memory",) * (1 + (name == "start"))
            held = have[(*path[:-2], *within, path[-1])]
            np.testing.assert_array_equal(array, held)
        else:
            np.testing.assert_array_equal(array, np.zeros_like(array))
    assert ("memory" in found) == (mixer != "attention")
    assert ("anchor" in found) == (mixer == "deep")
    assert np.isfinite(to_numpy(go_on(layer, X[:1], merged.to_state()))).all()


def test_whatever_an_update_rule_carries_is_averaged():
    filled = lambda x: [np.full((1, 2, 3, 3), x, "float32")]
    entries = lambda x: {
        "memory": filled(x),
        "second_moment": filled(2 * x),
        "convolution": [np.full((1, 3, 6), x, "float32")],
    }
    one, two = (MemorySnapshot({"layer": entries(x)}) for x in (1.0, 3.0))
    have = MemorySnapshot.merge([one, two]).state["layer"]
    same(have["memory"], filled(2.0))
    same(have["second_moment"], filled(4.0))
    assert not have["convolution"][0].any()


def test_merging_alike_changes_no_memory(snapshot):
    merged = MemorySnapshot.merge([snapshot, snapshot.copy()])
    for name in ("memory", "momentum"):
        want = snapshot.state["memory"][name]
        close(merged.state["memory"][name], want, 1e-7)
    assert merged.tokens.tolist() == [2 * TOKENS] * ROWS
    assert merged.fingerprint == MINE


def test_weights_of_nothing_leave_nothing(snapshot):
    loud = snapshot.copy()
    loud.state["memory"]["memory"][0][...] = 1e30
    merged = MemorySnapshot.merge([snapshot, loud], [2, 0])
    same(merged.state["memory"]["memory"], snapshot.state["memory"]["memory"])


@pytest.mark.parametrize(
    "weights", [[1], [1, -1], [0, 0], [1, float("nan")], [[1, 1]]]
)
def test_odd_weights_are_refused(weights, snapshot):
    with pytest.raises(ValueError, match="`weights` must hold 2"):
        MemorySnapshot.merge([snapshot, snapshot], weights)


def test_only_like_is_merged(snapshot):
    other = MINE._replace(weights="0" * 32)
    other = MemorySnapshot(snapshot.state, other)
    with pytest.raises(ValueError, match="other weights"):
        MemorySnapshot.merge([snapshot, other])
    with pytest.raises(ValueError, match="as many rows"):
        MemorySnapshot.merge([snapshot, snapshot.rows(0)])
    with pytest.raises(ValueError, match="another kind"):
        MemorySnapshot.merge([snapshot, MemorySnapshot({"x": np.ones(3)})])
    with pytest.raises(ValueError, match="at least one"):
        MemorySnapshot.merge([])
    with pytest.raises(ValueError, match="MemorySnapshot"):
        MemorySnapshot.merge([snapshot, snapshot.state])


def test_arrays_need_their_rows():
    with pytest.raises(ValueError, match="same number of rows"):
        MemorySnapshot({"a": np.ones(2), "b": np.ones(3)})
    with pytest.raises(ValueError, match="same number of rows"):
        MemorySnapshot({"a": np.ones(())})


@pytest.mark.parametrize(
    "tokens", [-1, 2.0, [1, 2.5, 3], [1, -2, 3], [1, 2], True, "7", None]
)
def test_token_counts_are_whole_numbers(tokens):
    with pytest.raises(ValueError, match="Argument `tokens`"):
        MemorySnapshot({"a": np.ones(3)}, tokens=tokens)


@pytest.mark.parametrize(
    "fingerprint",
    [
        "ab",
        5,
        ("a" * 32, "b" * 32),
        Fingerprint("a" * 32, 5),
        Fingerprint("a" * 32, "b" * 31),
        Fingerprint("architecture", "weights"),
    ],
)
def test_a_fingerprint_is_one(fingerprint):
    with pytest.raises(ValueError, match="Argument `fingerprint`"):
        MemorySnapshot({"a": np.ones(3)}, fingerprint)
