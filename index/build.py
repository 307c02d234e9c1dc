"""The write path before the catalogue: documents are cut and embedded, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

from index.catalogue import Prepared
from index.chunk import PASSAGE_CHARACTERS, QUOTE_CHARACTERS, cut
from index.encoder import EncodedPassages, Encoder
from index.records import Cut, RawDocument


def prepare(documents: Sequence[RawDocument], encoder: Encoder) -> list[Prepared]:
    """Cut and embed documents; together, so that texts of like length share a batch.

    Passages and sentences are embedded separately: a sentence's own vector finds what its passage's mean hides.
    """
    cuts = [_cut_to_fit(document, encoder) for document in documents]
    passages = [span.of(raw.text) for raw, each in zip(documents, cuts, strict=True) for span in each.passages]
    sentences = [
        span.of(raw.text)
        for raw, each in zip(documents, cuts, strict=True)
        for group in each.sentences
        for span in group
    ]
    encoded = encoder.encode_passages(passages)
    sentence_vectors = encoder.encode_sentences(sentences)
    prepared: list[Prepared] = []
    passage = sentence = 0
    for raw, each in zip(documents, cuts, strict=True):
        of_passages = slice(passage, passage + len(each.passages))
        of_sentences = slice(sentence, sentence + sum(map(len, each.sentences)))
        own = EncodedPassages(encoded.vectors[of_passages], encoded.tokens[of_passages])
        prepared.append(Prepared(raw, each, own, sentence_vectors[of_sentences]))
        passage, sentence = of_passages.stop, of_sentences.stop
    return prepared


def _cut_to_fit(document: RawDocument, encoder: Encoder) -> Cut:
    """Cut into passages the model reads whole; scripts with a token a letter need shorter ones."""
    size = PASSAGE_CHARACTERS
    while True:
        result = cut(document.text, document.language, size)
        longest = max(encoder.count_tokens([span.of(document.text) for span in result.passages]))
        if longest <= encoder.info.max_tokens or size <= QUOTE_CHARACTERS:
            return result
        size = max(QUOTE_CHARACTERS, size * encoder.info.max_tokens // longest)
