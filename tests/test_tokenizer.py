"""The small form of the embedded model's tokenizer against the library's own, token for token.

The reference is what transformers and sentence-transformers compute with the same ``tokenizer.json``: the library
tokenizers. Ids decide the vectors, offsets decide where a token's state lies, so both must be the same everywhere.
"""

from __future__ import annotations

import copy
import errno
import json
import os
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

from index import Encoder, model_path
from index.e5 import REVISION, ensure_embedded_model
from index.encoder import model_fingerprint
from index.openvino_encoder import OpenVinoEncoder
from index.tokenizer import LibraryTokenizer
from index.unigram import FILE, UnigramTokenizer, fits, open_unigram, write_unigram
from tests.conftest import ROOT, SHARED

SEED = 20_251
MARKS = [chr(code) for code in range(0x20000) if unicodedata.category(chr(code)).startswith("M")]
TIES = ["つつつ", "つ" * 9, "kayo" * 9]
"""Several divisions of these have the same sum but for its last bit."""
CORNERS = [
    "",
    " ",
    "   ",
    "\n",
    "\n\n",
    "\0",
    "a\0b",
    " leading",
    "trailing ",
    "two  spaces   three",
    "<s>",
    "a<s>b</s> c<mask><pad> <unk>",
    "＜ｕｎｋ＞＜ｓ＞",  # becomes a special token's name by normalisation only
    "\u2581\u2581a\u2581",
    "e\u0301\u0323\u0302 ﬁne ㎏ ﷺ İ ①",
    "\ufdd0\ufdd1\ufdd5 \ufffe \U0010ffff \ue000",
    "unknown \U0001f9ff\U0001fae8 \U000e0041",
    "W" * 5000,
    "汉字" * 700,
    "x" * 33 + " " + "y" * 32,
    *TIES,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    models = os.environ.get("FUNDSTELLE_MODELS_DIR")
    return model_path(models=Path(models) if models else None)


@pytest.fixture(scope="module")
def library(folder: Path) -> LibraryTokenizer:
    return LibraryTokenizer(folder / "tokenizer.json")


@pytest.fixture(scope="module")
def small(folder: Path) -> UnigramTokenizer:
    opened = open_unigram(folder)
    assert opened is not None
    return opened


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, Any]:
    with np.load(folder / FILE) as parts:
        return {name: parts[name] for name in parts.files}


def assert_same(library: LibraryTokenizer, small: UnigramTokenizer, texts: list[str]) -> None:
    expected = library.encode(texts)
    for text, one, other in zip(texts, expected, small.encode(texts), strict=True):
        assert one == other, f"{text[:200]!a}"
    assert small.count(texts) == library.count(texts) == [len(tokens.ids) for tokens in expected]


def differs(library: LibraryTokenizer, small: UnigramTokenizer, texts: list[str]) -> bool:
    return library.encode(texts) != small.encode(texts)


letters = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.characters(categories=["Cc", "Cf", "Zs", "Zl", "Zp"]),
    st.sampled_from(MARKS),
    st.sampled_from("ﬁ㎏①…İßﷺ＜＞ｓ가각ᄀ\u1161\u11a8กำ漢字ひらカタ\u200b\u00ad\u2581"),
)
words = st.one_of(
    st.text(letters, max_size=12),
    st.text("abcdeinorst", min_size=1, max_size=10),
    st.tuples(st.text(letters, min_size=1, max_size=4), st.integers(2, 40)).map(lambda pair: pair[0] * pair[1]),
    st.sampled_from(["<s>", "</s>", "<unk>", "<pad>", "<mask>", "<s", "query: ", "passage: ", " ", "  ", "\n", "\0"]),
)


@seed(SEED)
@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(words, max_size=12).map("".join), min_size=1, max_size=8))
@example(CORNERS)
@example([f"query: {text}" for text in CORNERS])
def test_any_text_has_the_librarys_ids_and_offsets(
    library: LibraryTokenizer, small: UnigramTokenizer, texts: list[str]
) -> None:
    print("seed", SEED)
    assert_same(library, small, texts)


@pytest.fixture(scope="module")
def pieces(library: LibraryTokenizer) -> list[str]:
    return sorted(library.vocabulary())


@seed(SEED)
@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 250_001), max_size=60), st.sampled_from(["", " "]))
def test_pieces_in_any_order_are_divided_as_the_library_divides_them(
    library: LibraryTokenizer, small: UnigramTokenizer, pieces: list[str], chosen: list[int], blank: str
) -> None:
    print("seed", SEED)
    text = "".join(pieces[place] for place in chosen)
    assert_same(library, small, [text.replace("\u2581", blank)])


def test_the_sample_has_the_librarys_ids_and_offsets(library: LibraryTokenizer, small: UnigramTokenizer) -> None:
    texts = list(_texts(ROOT / "sample"))
    assert len(texts) > 100
    assert_same(library, small, texts)


@pytest.mark.seeds
@pytest.mark.slow
@pytest.mark.parametrize("name", ["seeds", "data/xquad-dev"])
def test_the_articles_beside_the_project_have_the_librarys_ids_and_offsets(
    library: LibraryTokenizer, small: UnigramTokenizer, name: str
) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"../shared/{name} is missing")
    assert_same(library, small, [f"passage: {text}" for text in dict.fromkeys(_texts(SHARED / name))])


def _texts(folder: Path) -> Iterator[str]:
    """Yield every file whole, its paragraphs and lines, and the strings in JSON lines."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".txt", ".md"}:
            text = file.read_text("utf-8")
            yield from (text, *text.split("\n\n"), *text.split("\n"))
        elif file.suffix == ".jsonl":
            for line in file.read_text("utf-8").splitlines():
                yield from json.loads(line).get("question", {}).values()


@pytest.mark.slow
def test_every_character_has_the_librarys_ids_and_offsets(library: LibraryTokenizer, small: UnigramTokenizer) -> None:
    """In all planes, by the hundred: alone among blanks, and joined with what stands before."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    planes = [one for one in characters if ord(one) < 0x20000 or ord(one) % 64 == 0]
    rows = [planes[first : first + 100] for first in range(0, len(planes), 100)]
    assert_same(library, small, [" ".join(row) for row in rows])
    assert_same(library, small, ["a" + "e".join(row) for row in rows])


@pytest.mark.parametrize("harm", ["last bit", "rounded", "order", "special", "unknown"])
def test_a_tokenizer_that_is_nearly_right_is_noticed(
    library: LibraryTokenizer, stored: dict[str, Any], harm: str
) -> None:
    """Null control: the comparisons see one bit of a score, and every other part of the small form."""
    parts = dict(stored)
    if harm == "last bit":  # the scores as tokenizer.json has them, which the library does not read exactly
        parts["scores"] = parts["scores"].astype(np.float32).astype(np.float64)
    elif harm == "rounded":
        parts["scores"] = parts["scores"].round(1)
    elif harm == "order":
        parts["ids"] = parts["ids"][::-1].copy()
    elif harm == "special":
        parts["special"] = parts["special"][::-1].copy()
    else:
        parts["unknown"] = parts["unknown"] + 1
    nearly = UnigramTokenizer(parts)
    texts = TIES if harm == "last bit" else CORNERS
    assert library.encode(texts) != nearly.encode(texts)


def test_threads_do_not_disturb_one_another(library: LibraryTokenizer, small: UnigramTokenizer) -> None:
    texts = list(_texts(ROOT / "sample"))[:200]
    expected = library.encode(texts)
    with ThreadPoolExecutor(4) as threads:
        for result in threads.map(small.encode, [texts] * 8):
            assert result == expected


@pytest.mark.slow
def test_the_vectors_are_the_same_to_the_last_bit(e5: Encoder, library: LibraryTokenizer) -> None:
    assert isinstance(e5, OpenVinoEncoder)
    assert isinstance(e5._tokenizer, UnigramTokenizer), "null control: there are two tokenizers to compare"
    before = copy.copy(e5)
    before._tokenizer = library
    texts = [*TIES, *CORNERS[9:16], *list(_texts(ROOT / "sample"))[:20]]
    for one, other in zip(e5.encode_queries(texts[:12]), before.encode_queries(texts[:12]), strict=True):
        assert np.array_equal(one.vector, other.vector)
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.weights, other.weights)
    now, then = e5.encode_passages(texts), before.encode_passages(texts)
    assert np.array_equal(now.vectors, then.vectors)
    for codes, others in zip(now.tokens, then.tokens, strict=True):
        assert np.array_equal(codes.codes, others.codes)
        assert np.array_equal(codes.starts, others.starts)
    assert np.array_equal(e5.folded_tokens(), before.folded_tokens())


# ---- the file


@pytest.fixture
def models(folder: Path, tmp_path: Path) -> Path:
    """A folder of models as an earlier version left it: without the small form. The weights are linked."""
    made = tmp_path / "models" / REVISION
    made.mkdir(parents=True)
    for file in folder.iterdir():
        if file.name != FILE:
            (made / file.name).symlink_to(file, target_is_directory=file.is_dir())
    return made.parent


@pytest.fixture
def little(models: Path) -> Path:
    """A folder whose tokenizer has 300 pieces, quickly taken apart; its vectors are not the model's."""
    settings = json.loads((models / REVISION / "tokenizer.json").read_text("utf-8"))
    settings["model"]["vocab"] = [*settings["model"]["vocab"][:300], ["<mask>", 0.0]]
    settings["added_tokens"][-1]["id"] = 300
    rewrite(models / REVISION / "tokenizer.json", settings)
    return models / REVISION


def rewrite(file: Path, content: object) -> None:
    """Replace a link, so that what it leads to stays."""
    file.unlink()
    file.write_text(json.dumps(content), "utf-8")


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.slow
def test_a_folder_of_an_earlier_version_gets_the_small_form_and_stays_the_same_model(models: Path) -> None:
    made = models / REVISION
    before, names = model_fingerprint(made, models / "one"), files(made)
    told: list[str] = []
    assert not fits(made)
    assert ensure_embedded_model(models, told.append) == made
    assert fits(made)
    assert len(told) == 1
    assert model_fingerprint(made, models / "two") == before
    assert files(made) == sorted([*names, FILE]), "nothing else appeared, nothing is gone"
    assert LibraryTokenizer(made / "tokenizer.json").count(["tokenizer.json stays what it was"])[0] > 3
    stamp = (made / FILE).stat().st_mtime_ns
    ensure_embedded_model(models, told.append)
    assert len(told) == 1
    assert (made / FILE).stat().st_mtime_ns == stamp, "it is made once"


@pytest.mark.parametrize("harm", ["bit", "cut", "empty", "other tokenizer", "other format"])
def test_a_small_form_that_does_not_fit_is_not_used_and_made_again(little: Path, harm: str) -> None:
    write_unigram(little)
    assert open_unigram(little) is not None, "null control: unharmed, it is opened"
    file = little / FILE
    data = bytearray(file.read_bytes())
    if harm == "bit":
        data[len(data) // 2] ^= 1
    elif harm == "cut":
        del data[-1000:]
    elif harm == "empty":
        data.clear()
    elif harm == "other format":
        with np.load(file) as stored:
            np.savez(
                file,
                allow_pickle=False,
                **{name: stored[name] for name in stored.files} | {"format": np.array("unigram-0")},
            )
        data = bytearray(file.read_bytes())
    else:
        settings = json.loads((little / "tokenizer.json").read_text("utf-8"))
        settings["model"]["vocab"][200][1] -= 1
        rewrite(little / "tokenizer.json", settings)
    file.write_bytes(data)
    assert open_unigram(little) is None
    ensure_embedded_model(little.parent, print)
    opened = open_unigram(little)
    assert opened is not None
    texts = ["What did Germany offer France?", "zzz"]
    assert opened.encode(texts) == LibraryTokenizer(little / "tokenizer.json").encode(texts)


@pytest.mark.parametrize("obstacle", ["read-only", "full", "none"])
def test_where_it_cannot_be_written_nothing_half_made_stays(
    little: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if obstacle == "full":
        monkeypatch.setattr(np, "savez", full)
    elif obstacle == "read-only":
        monkeypatch.setattr(os, "access", lambda *_: False)
    names = files(little)
    ensure_embedded_model(little.parent, print)
    assert (files(little) == names) == (obstacle != "none"), "null control: without an obstacle it is there"
    assert (open_unigram(little) is None) == (obstacle != "none")


@pytest.mark.slow
def test_without_the_small_form_the_library_tokenizes(models: Path) -> None:
    def opened() -> OpenVinoEncoder:
        return OpenVinoEncoder("model", models / REVISION, "fingerprint", 1)

    assert type(opened()._tokenizer) is LibraryTokenizer
    write_unigram(models / REVISION)
    assert type(opened()._tokenizer) is UnigramTokenizer


@pytest.mark.parametrize("kind", ["another model", "bytes", "words", "beyond a word"])
def test_a_tokenizer_of_another_kind_is_left_to_the_library(little: Path, kind: str) -> None:
    file = little / "tokenizer.json"
    settings = json.loads(file.read_text("utf-8"))
    if kind == "another model":
        settings["model"] = {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}
        settings |= {"added_tokens": [], "post_processor": None}
    elif kind == "bytes":
        settings["model"]["byte_fallback"] = True
    elif kind == "words":
        settings["pre_tokenizer"] = {"type": "Whitespace"}
    else:
        settings["model"]["vocab"][200][0] = "a\u2581b"
    rewrite(file, settings)
    names = files(little)
    with pytest.raises(ValueError, match=r"unigram|SentencePiece|beyond"):
        write_unigram(little)
    ensure_embedded_model(little.parent, print)
    assert files(little) == names
    assert open_unigram(little) is None
    assert LibraryTokenizer(file).count(["some words"])[0] > 0
