"""Short stories for language models: drawn by us without a download, or the real ones that a published model learned.

Drawn:   sentences about children, toys and places from a small grammar. Who holds what, and where, carries over from
         sentence to sentence, so that a model has to look back to guess the next word.
Real:    the 260,000-parameter model of llama2.c with its 512 tokens and a page of its stories (Eldan & Li, 2305.07759),
         looked for in ``stories260k/`` inside the folder that FRUGAL_DATA names. None of it ships with the course.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from frugal.core.errors import FrugalError, MissingData
from frugal.data.cifar10 import data_folder

FOLDER = "stories260k"
MODEL, TOKENS, SAMPLE = "stories260K.bin", "tok512.bin", "tinystories_sample.txt"
BEGIN = 1  # the token that opens a real story
_END = "<|endoftext|>"

CHILDREN = ("tom", "ann", "ben", "lily", "max", "mia", "sam", "zoe")
GIRLS = frozenset(("ann", "lily", "mia", "zoe"))
TOYS = ("ball", "kite", "drum", "boat", "doll", "train", "book", "bell")
COLOURS = ("red", "blue", "green", "yellow", "white", "black")
PLACES = ("garden", "kitchen", "forest", "beach", "school", "attic")
MOODS = ("happy", "sad", "proud", "tired", "glad", "shy")
_OTHER = (
    "<story> . , once there was a boy girl named one morning found in the gave to now has then he she his her took and"
    " played together with where is asked it not carried home again"
)
WORDS = tuple(dict.fromkeys((*_OTHER.split(), *CHILDREN, *TOYS, *COLOURS, *PLACES, *MOODS)))


class DamagedTokens(FrugalError, ValueError):
    """A file of tokens ends too early or holds what it cannot hold."""


def draw_stories(count: int, length: int = 96, *, seed: int = 0, split: str = "train") -> Tensor:
    """Draw stories as numbers of ``WORDS``, one row each: stories follow one another until the row is full.

    Args:
        count: rows.
        length: words in a row.
        seed, split: rows of different splits never come from the same random numbers.

    Returns:
        int64 [count, length].

    >>> rows = draw_stories(1, 12, split="test")
    >>> WORDS[rows[0, 0]]
    '<story>'
    """
    if count < 1 or length < 2:
        raise ValueError(f"count must be at least 1 and length at least 2, got {count} and {length}")
    chance = random.Random(f"stories/{seed}/{split}")
    number = _numbers()
    rows = []
    for _ in range(count):
        words: list[str] = []
        while len(words) < length:
            words += _story(chance)
        rows.append([number[word] for word in words[:length]])
    return torch.tensor(rows)


def text_of(tokens: Tensor) -> str:
    """Write drawn tokens, int64 [t], as words."""
    return " ".join(WORDS[token] for token in tokens.tolist())


@cache
def _numbers() -> dict[str, int]:
    return {word: number for number, word in enumerate(WORDS)}


def _story(chance: random.Random) -> list[str]:
    """One story: a toy is found, then changes hands and places three to six times."""
    holder, friend = chance.sample(CHILDREN, 2)
    toy, colour, place = chance.choice(TOYS), chance.choice(COLOURS), chance.choice(PLACES)
    mood = chance.choice(MOODS)
    text = (
        f"<story> once there was a {mood} {_kind(holder)} named {holder} . one morning {holder} found a {colour} {toy} "
    )
    text += f"in the {place} . "
    for _ in range(chance.randint(3, 6)):
        event = chance.randrange(5)
        if event == 0:
            text += f"{holder} gave the {colour} {toy} to {friend} . now {friend} has the {toy} . "
            holder, friend = friend, holder
        elif event == 1:
            place = chance.choice(PLACES)
            text += f"then {_he(holder)} took the {toy} to the {place} . "
        elif event == 2:
            text += f"{holder} and {friend} played together with the {colour} {toy} in the {place} . "
        elif event == 3:
            text += f"where is the {toy} , {friend} asked . {holder} has it in the {place} . "
        else:
            mood = chance.choice(MOODS)
            text += f"{holder} was {mood} and {friend} was not {mood} . "
    return (text + f"{_he(holder)} carried {_his(holder)} {colour} {toy} home again .").split()


def _kind(child: str) -> str:
    return "girl" if child in GIRLS else "boy"


def _he(child: str) -> str:
    return "she" if child in GIRLS else "he"


def _his(child: str) -> str:
    return "her" if child in GIRLS else "his"


def published(name: str, root: str | Path | None = None) -> Path:
    """Return the path of one of the real files: ``MODEL``, ``TOKENS`` or ``SAMPLE``.

    Raises:
        MissingData: it is not there.
    """
    folder = data_folder(root)
    path = None if folder is None else folder / FOLDER / name
    if path is None or not path.is_file():
        where = "FRUGAL_DATA is not set" if path is None else f"{path} does not exist"
        raise MissingData(
            f"the real stories are not here: {where}. Put stories260K.bin and tok512.bin of llama2.c and a text of "
            f"TinyStories into FRUGAL_DATA/{FOLDER}/, or use draw_stories, which needs no download."
        )
    return path


def sample_stories(root: str | Path | None = None) -> list[Tensor]:
    """Return the real stories, int64 [t] tokens each, longer ones cut to the 512 that the model can read."""
    tokenizer = Tokenizer.read(published(TOKENS, root))
    text = published(SAMPLE, root).read_text(encoding="utf-8")
    return [tokenizer.encode(story.strip())[:512] for story in text.split(_END) if story.strip()]


@dataclass(frozen=True)
class Tokenizer:
    """The tokens of a real model: pieces of text with a score each, merged best score first."""

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]

    @classmethod
    def read(cls, path: str | Path) -> Tokenizer:
        """Read llama2.c's format: the longest length, then score (float32), length (int32) and bytes of each token."""
        content = Path(path).read_bytes()
        pieces: list[bytes] = []
        scores: list[float] = []
        at = 4
        while at < len(content):
            if at + 8 > len(content):
                raise DamagedTokens(f"{path} ends inside token {len(pieces)}; fetch it again")
            score, length = struct.unpack_from("<fi", content, at)
            piece = content[at + 8 : at + 8 + max(length, 0)]
            if length < 0 or len(piece) < length:
                raise DamagedTokens(f"{path}: token {len(pieces)} is said to have {length} bytes; fetch it again")
            pieces.append(piece)
            scores.append(score)
            at += 8 + length
        return cls(tuple(pieces), tuple(scores))

    def encode(self, text: str) -> Tensor:
        """Cut a text into tokens, int64 [t]: single characters first, then the neighbours with the best score merge."""
        number = {piece: token for token, piece in enumerate(self.pieces)}
        tokens: list[int] = []
        for character in " " + text if text else "":
            piece = character.encode()
            tokens += [number[piece]] if piece in number else [byte + 3 for byte in piece]  # 3 tokens come before bytes
        while True:
            pairs = [
                (self.scores[merged], -at, merged)
                for at in range(len(tokens) - 1)
                if (merged := number.get(self.pieces[tokens[at]] + self.pieces[tokens[at + 1]])) is not None
            ]
            if not pairs:
                return torch.tensor([BEGIN, *tokens])
            _, at, merged = max(pairs)
            tokens[-at : -at + 2] = [merged]
