"""The language model: causal, in the file format of llama2.c, as good as its authors say, and trained by us as well."""

import math
import struct

import pytest
import torch

from frugal.data.stories import MODEL, WORDS, draw_stories, published, sample_stories
from frugal.nets import pretrained
from frugal.nets.llama import (
    DamagedModel,
    Llama,
    LlamaShape,
    RMSNorm,
    load_llama2c,
    next_token_accuracy,
    nll,
    norms_and_readers,
    rotate_pairs,
    stand_out,
    turns,
    writers,
)

SHAPE = LlamaShape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, vocabulary=11, context=10)


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Llama(SHAPE).eval()


def stored(model, own_head):
    """The bytes that llama2.c would write."""
    state, layers = model.state_dict(), range(SHAPE.layers)
    names = ["attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo"]
    names += ["ffn_norm", "ffn.w1", "ffn.w2", "ffn.w3"]
    tensors = [state["embedding.weight"]]
    tensors += [state[f"blocks.{layer}.{name}.weight"] for name in names for layer in layers]
    tensors += [state["norm.weight"], torch.zeros(SHAPE.context, 4)]  # 2 · head_dim / 2 numbers per position
    tensors += [state["head.weight"]] * own_head
    sizes = (16, 24, 2, 4, 2, -11 if own_head else 11, 10)
    return struct.pack("<7i", *sizes) + b"".join(tensor.numpy().tobytes() for tensor in tensors)


def test_a_token_never_sees_what_comes_after_it(model):
    tokens = torch.randint(0, 11, (2, 10))
    changed = tokens.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % 11
    torch.testing.assert_close(model(tokens)[:, :6], model(changed)[:, :6], rtol=0, atol=1e-6)
    assert not torch.allclose(model(tokens)[:, 6:], model(changed)[:, 6:])


def test_scores_of_rotated_pairs_depend_on_their_distance_alone():
    q, k = torch.randn(2, 8, dtype=torch.float64).unbind()
    turn = turns(20, 8)
    at = lambda x, t: rotate_pairs(x[None], turn[t])  # noqa: E731
    scores = [(at(q, t + 3) * at(k, t)).sum() for t in range(17)]
    torch.testing.assert_close(torch.stack(scores), scores[0].expand(17), rtol=0, atol=1e-5)


def test_rms_norm_gives_vectors_of_root_mean_square_one():
    y = RMSNorm(64, eps=0.0)(torch.randn(5, 64) * 7)
    torch.testing.assert_close(y.square().mean(-1), torch.ones(5))


@pytest.mark.parametrize("own_head", [True, False])
def test_a_file_of_llama2c_is_read_as_it_was_written(model, tmp_path, own_head):
    path = tmp_path / "model.bin"
    path.write_bytes(stored(model, own_head))
    read = load_llama2c(path)
    for name, value in model.state_dict().items():
        expected = model.embedding.weight if name == "head.weight" and not own_head else value
        assert torch.equal(read.state_dict()[name], expected), name


@pytest.mark.parametrize("damage", [lambda b: b[:-4], lambda b: b + b"\0" * 4, lambda b: b[:20], lambda b: b"\0" * 40])
def test_a_damaged_file_is_refused(model, tmp_path, damage):
    path = tmp_path / "model.bin"
    path.write_bytes(damage(stored(model, own_head=False)))
    with pytest.raises(DamagedModel, match=r"model\.bin"):
        load_llama2c(path)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiple of 2 · heads"):
        LlamaShape(dim=12, hidden=8, layers=1, heads=4, kv_heads=4, vocabulary=5, context=5)
    with pytest.raises(ValueError, match="layers must be at least 1"):
        LlamaShape(dim=16, hidden=8, layers=0, heads=4, kv_heads=4, vocabulary=5, context=5)


def test_tokens_of_the_wrong_shape_are_refused(model):
    for tokens in (torch.zeros(5, dtype=torch.int64), torch.zeros(1, 11, dtype=torch.int64)):
        with pytest.raises(ValueError, match="t from 1 to 10"):
            model(tokens)


def test_an_untrained_model_is_as_unsure_as_a_fair_die(model):
    found = nll(model, [torch.randint(0, 11, (4, 10))])
    assert abs(found - math.log(11)) < 0.1


def test_long_texts_weigh_as_much_as_they_have_tokens(model):
    short, long = torch.randint(0, 11, (4,)), torch.randint(0, 11, (9,))
    together = (3 * nll(model, [short]) + 8 * nll(model, [long])) / 11
    assert nll(model, [short, long]) == pytest.approx(together, rel=1e-12)
    with pytest.raises(ValueError, match="at least one text"):
        nll(model, [])
    with pytest.raises(ValueError, match="at least 2 tokens"):
        nll(model, [short[:1]])


def test_every_linear_layer_reads_a_norm_or_writes_to_the_stream_or_lies_inside(model):
    readers = [linear for _, linears in norms_and_readers(model) for linear in linears]
    found = {id(linear) for linear in (*readers, *writers(model))}
    linears = {id(module) for module in model.modules() if isinstance(module, torch.nn.Linear)}
    assert found == linears
    assert len(readers) + len(writers(model)) == len(linears)


def test_features_that_stand_out_change_nothing_but_the_norms(model):
    tokens = torch.randint(0, 11, (2, 10))
    twin = stand_out(model, [1, 5], 32.0)
    assert torch.equal(twin(tokens), model(tokens))  # a power of two
    assert twin.norm.weight.tolist() == [32.0 if feature in (1, 5) else 1.0 for feature in range(16)]
    with pytest.raises(ValueError, match="from 0 to 15"):
        stand_out(model, [16], 2.0)


def test_the_model_that_ships_reads_its_stories():
    made = pretrained.card("llama_drawn")
    model = pretrained.load("llama_drawn")
    assert model.shape.vocabulary == len(WORDS)
    rows = draw_stories(300, split="test")
    standard_error = 0.2  # points: 28,500 words at 80 %
    assert abs(next_token_accuracy(model, rows) - made.accuracy_percent) < 4 * standard_error
    assert nll(model, [rows]) < 0.5  # 4.3 is a fair die


@pytest.mark.real_data
def test_the_published_model_is_as_good_as_measured_before(real_data):
    model = load_llama2c(published(MODEL, real_data))
    assert sum(p.numel() for p in model.parameters()) == 260_032 + model.head.weight.numel()  # the file shares the head
    assert round(nll(model, sample_stories(real_data)), 3) == 1.266
