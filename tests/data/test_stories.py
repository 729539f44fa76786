"""Drawn stories hold together; real ones are cut into the tokens that their model knows."""

import re
import struct

import pytest
import torch

from frugal.core.errors import MissingData
from frugal.data.stories import (
    COLOURS,
    PLACES,
    TOYS,
    WORDS,
    DamagedTokens,
    Tokenizer,
    draw_stories,
    published,
    text_of,
)


def stories(count=200):
    text = " ".join(text_of(row) for row in draw_stories(count, 96))
    return [story for story in text.split("<story>") if story.rstrip().endswith("home again .")]


def test_rows_repeat_by_seed_and_differ_by_split():
    assert torch.equal(draw_stories(3), draw_stories(5)[:3])
    assert not torch.equal(draw_stories(3), draw_stories(3, seed=1))
    assert not torch.equal(draw_stories(3), draw_stories(3, split="test"))


def test_every_word_is_used_and_no_row_is_short():
    rows = draw_stories(500)
    assert rows.shape == (500, 96)
    assert set(rows.unique().tolist()) == set(range(len(WORDS)))


def test_a_story_has_one_toy_of_one_colour():
    for story in stories():
        words = story.split()
        assert len(set(TOYS) & set(words)) == 1
        assert len(set(COLOURS) & set(words)) == 1


def test_the_place_is_remembered_until_it_changes():
    for story in stories():
        place = None
        for kind, named in re.findall(rf"(found a \w+ \w+ in|to|in) the ({'|'.join(PLACES)})", story):
            assert kind != "in" or named == place
            place = named


def test_counts_that_make_no_sense_are_refused():
    for count, length in ((0, 10), (1, 1)):
        with pytest.raises(ValueError, match="at least"):
            draw_stories(count, length)


def write_tokens(path, pieces):
    """A file of llama2.c with the given (piece, score) after the three special tokens and the 256 bytes."""
    every = [
        (b"<unk>", 0.0),
        (b"<s>", 0.0),
        (b"</s>", 0.0),
        *((bytes([b]) if b > 127 else b"\0", 0.0) for b in range(256)),
    ]
    content = struct.pack("<i", 8)
    for piece, score in (*every, *pieces):
        content += struct.pack("<fi", score, len(piece)) + piece
    path.write_bytes(content)
    return Tokenizer.read(path)


def test_the_best_pair_merges_first(tmp_path):
    tokenizer = write_tokens(
        tmp_path / "tok", [(b" ", -9.0), (b"a", -9.0), (b"b", -9.0), (b"ab", -2.0), (b"ba", -1.0), (b" a", -3.0)]
    )
    pieces = [tokenizer.pieces[token] for token in tokenizer.encode("aba")[1:]]
    assert pieces == [b" a", b"ba"]


def test_what_has_no_token_becomes_its_bytes(tmp_path):
    tokenizer = write_tokens(tmp_path / "tok", [(b" ", -1.0)])
    assert tokenizer.encode("é").tolist() == [1, 259, 3 + 0xC3, 3 + 0xA9]


def test_a_cut_file_of_tokens_is_refused(tmp_path):
    path = tmp_path / "tok"
    write_tokens(path, [(b"abcdef", 0.0)])
    for cut in (2, 9):
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(DamagedTokens, match="fetch it again"):
            Tokenizer.read(path)


def test_missing_real_stories_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("FRUGAL_DATA", raising=False)
    for root in (None, tmp_path):
        with pytest.raises(MissingData, match="draw_stories"):
            published("tok512.bin", root)


@pytest.mark.real_data
def test_real_tokens_write_the_text_they_came_from(real_data):
    tokenizer = Tokenizer.read(published("tok512.bin", real_data))
    text = "Once upon a time, there was a café."
    tokens = tokenizer.encode(text)[1:].tolist()
    assert (
        b"".join(bytes([token - 3]) if 3 <= token < 259 else tokenizer.pieces[token] for token in tokens)
        == (" " + text).encode()
    )
