"""What of texts is not read: notes for those who train on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.artifact.wordpiece import WordPiece, words_of
from potstill.modalities.text import MOST_WORDS

WORTH_TELLING = 0.01
"""Share of the texts above which something is said of them."""

LONG_WORD = 20
"""Letters to a word, on average, from which on a text is taken for one of a script without blanks."""


def describe_unread(texts: Sequence[str], tokenizer: WordPiece, *, pretrained: bool) -> tuple[str, ...]:
    """A sentence each where many texts are empty, end after what is read, or are of unknown words.

    Parameters
    ----------
    texts
        Training texts, at least one.
    tokenizer
        What transformers read them with.
    pretrained
        Whether that is an encoder's, and not made of these texts.
    """
    most = tokenizer.max_pieces
    # No letter falls apart into more than four.
    lengthy = [text for text in texts if 4 * len(text) > most - 2]
    counts = {
        "are empty.": sum(not text.strip() for text in texts),
        f"have more than {MOST_WORDS} words; no more are read.": sum(
            len(text.split()) > MOST_WORDS for text in texts
        ),
        f"have more than {most} word pieces; transformers read no more.": int(
            np.count_nonzero(tokenizer.ids(lengthy, width=most + 1)[:, -1])
        ),
    }
    unbroken = sum(len(text) >= LONG_WORD and len(text.split()) * LONG_WORD < len(text) for text in texts)
    counts["have hardly a blank between words, so only transformers read them."] = unbroken
    if pretrained:
        known = frozenset(tokenizer.vocab)
        counts["are mostly words that the encoder does not know whole; is it for their language?"] = sum(
            _is_strange(text, known, lower=tokenizer.lower) for text in texts
        )
    return tuple(
        f"{count:,} of {len(texts):,} training texts ({count / len(texts):.0%}) {what}"
        for what, count in counts.items()
        if count > WORTH_TELLING * len(texts)
    )


def _is_strange(text: str, known: frozenset[str], *, lower: bool) -> bool:
    """Whether most words of a text are not known as they are."""
    words = words_of(text, lower=lower)
    return 2 * sum(word not in known for word in words) > len(words)
