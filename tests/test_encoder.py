"""The embedded model and its engines, against PyTorch and against damage."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import index.encoder
from index import Encoder, model_path, open_encoder
from index.e5 import convert, packed_file, unpack
from index.encoder import check_golden_vectors, check_model_folder, model_fingerprint
from index.errors import ModelUnavailable
from index.openvino_encoder import OpenVinoEncoder, batch_by_tokens, can_compute, quantise
from index.projection import load_projection

TEXTS = [
    "Die Gerberbrücke wird am 3. Oktober für elf Monate gesperrt.",
    "what did Germany offer France?",
    "数据库保存文件。",
    "x",
    "Ein sehr langer Satz, " * 200,
]


@pytest.fixture(scope="session")
def folder(e5: Encoder) -> Path:
    import os

    models = os.environ.get("FUNDSTELLE_MODELS_DIR")
    return model_path(models=Path(models) if models else None)


@pytest.mark.filterwarnings("ignore")
def test_the_fast_engine_computes_what_sentence_transformers_computes(e5: Encoder, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(folder), device="cpu")
    questions = np.stack([query.vector for query in e5.encode_queries(TEXTS)])
    sentences = e5.encode_sentences(TEXTS)
    assert (questions * reference.encode_query(TEXTS)).sum(1).min() > 0.999
    assert (sentences * reference.encode_document(TEXTS)).sum(1).min() > 0.999
    swapped = (questions * reference.encode_document(TEXTS)).sum(1).min()
    assert swapped < 0.999, "null control: the wrong prompt must show"


def test_a_vector_does_not_depend_on_its_batch(e5: Encoder) -> None:
    together = e5.encode_passages(TEXTS).vectors
    alone = np.concatenate([e5.encode_passages([text]).vectors for text in TEXTS])
    assert (together * alone).sum(1).min() > 0.9995
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-5


def test_meaning_crosses_languages(e5: Encoder) -> None:
    (question,) = e5.encode_queries(["Where did the cat sleep?"])
    right, wrong = e5.encode_sentences(["Die Katze schlief auf dem Sofa.", "Der Haushalt wurde gestern beschlossen."])
    assert question.vector @ right > question.vector @ wrong + 0.03


def test_token_states_lie_where_the_words_are(e5: Encoder) -> None:
    text = "Die Brücke ist gesperrt 😀. Das Wetter war schlecht. Der Markt fällt aus."
    (states,) = e5.encode_passages([text]).tokens
    assert states.codes.shape == (len(states.starts), e5.info.token_dimension)
    starts = states.starts.tolist()
    assert starts == sorted(starts)
    words = [match.start() for match in re.finditer(r"\w+", text)]
    assert set(words) <= set(starts), "each word begins with a token, the first of a text and of a sentence included"
    assert not any(text[start].isspace() for start in starts)
    (query,) = e5.encode_queries(["bridge"])
    units = states.codes / np.linalg.norm(states.codes.astype(np.float32), axis=1, keepdims=True)
    best = int(starts[(query.tokens @ units.T).max(axis=0).argmax()])
    assert text[best : best + 6] == "Brücke"
    assert query.weights.sum() == pytest.approx(1, abs=1e-5)


def test_every_word_of_a_question_counts(e5: Encoder) -> None:
    one, two, other = e5.encode_queries(["Brücke", "Brücke gesperrt?", "gesperrt?"])
    assert 0 < len(one.tokens) < len(two.tokens)
    assert len(one.tokens) + len(other.tokens) == len(two.tokens)


def test_capitals_do_not_make_a_word_rarer(e5: Encoder) -> None:
    small, large = e5.encode_queries(["what did the mayor offer?", "What did the mayor offer?"])
    assert small.weights == pytest.approx(large.weights, abs=1e-6)
    assert small.weights[0] < small.weights[4], "'what' says less than 'mayor'"


def test_tokens_are_counted_with_prompt_and_specials(e5: Encoder) -> None:
    short, long = e5.count_tokens(["x", "Wort " * 2000])
    assert short <= 6
    assert long > e5.info.max_tokens


def test_golden_vectors_notice_another_model(e5: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    check_golden_vectors(e5)
    golden = json.loads(index.encoder._GOLDEN.read_text("utf-8"))
    golden["queries"] = ["another question entirely"]
    altered = Path("altered.json")
    monkeypatch.setattr(index.encoder, "_GOLDEN", altered)
    monkeypatch.setattr(Path, "read_text", lambda self, *_: json.dumps(golden))
    with pytest.raises(ModelUnavailable):
        check_golden_vectors(e5)


def test_a_changed_wheel_is_refused(tmp_path: Path) -> None:
    data = bytearray(packed_file().read_bytes())
    data[-1000] ^= 1
    packed = tmp_path / "packed.bin"
    packed.write_bytes(data)
    with pytest.raises(ModelUnavailable) as error:
        convert(packed, tmp_path)
    assert error.value.code == "model_damaged"
    assert not (tmp_path / "config.json").exists()


def test_what_is_not_the_wheels_file_is_refused() -> None:
    with pytest.raises(ModelUnavailable):
        unpack(b"something else entirely")


@pytest.mark.filterwarnings("ignore")
def test_a_model_in_a_folder_keeps_its_own_prompts(folder: Path, tmp_path: Path) -> None:
    """A copy without prompts is another model: other vectors, other fingerprint."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "config_sentence_transformers.json").read_text())
    settings["prompts"] = {"query": "", "document": ""}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(settings))
    other = open_encoder(str(copy), tmp_path)
    plain = open_encoder(str(folder), tmp_path)
    assert other.info.fingerprint != plain.info.fingerprint
    (with_prompt,), (without,) = plain.encode_queries(["a question"]), other.encode_queries(["a question"])
    assert with_prompt.vector @ without.vector < 0.999


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_another_shape_runs_on_sentence_transformers(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cls"
    shutil.copytree(folder, copy)
    pooling = {"word_embedding_dimension": 384, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (copy / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert not can_compute(copy)
    encoder = open_encoder(str(copy), tmp_path)
    assert encoder.info.engine == "pytorch-f32"
    assert encoder.info.token_dimension == 0
    encoded = encoder.encode_passages(["Ein Satz."])
    assert encoded.vectors.shape == (1, 384)
    assert encoded.tokens == ()
    assert encoder.count_tokens(["Ein Satz."])[0] > 3


@pytest.mark.parametrize("name", ["no/such-model", "./absent", "not a name"])
def test_a_model_that_cannot_be_had_is_a_clear_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable) as error:
        open_encoder(name, tmp_path)
    assert error.value.code == "model_unavailable"


@pytest.mark.parametrize(
    "harm",
    [
        "code",
        "auto_map",
        "nested auto_map",
        "pickle",
        "pickled part",
        "module",
        "routed",
        "activation",
        "deep",
        "empty",
    ],
)
def test_model_folders_that_could_run_code_are_refused(folder: Path, tmp_path: Path, harm: str) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    if harm != "empty":
        (copy / "config.json").write_text('{"model_type": "bert"}')
        (copy / "model.safetensors").touch()
    if harm == "code":
        (copy / "modeling.py").write_text("raise SystemExit")
    elif harm == "auto_map":
        (copy / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Model"}}')
    elif harm == "nested auto_map":
        (copy / "config.json").write_text('{"text_config": {"auto_map": {"AutoModel": "modeling.Model"}}}')
    elif harm == "module":
        (copy / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "shelve.Shelf"}]')
    elif harm == "routed":
        (copy / "router_config.json").write_text('{"types": {"0": "shelve.Shelf"}, "structure": {"query": ["0"]}}')
    elif harm in {"activation", "pickled part"}:
        (copy / "2_Dense").mkdir()
        if harm == "activation":
            (copy / "2_Dense" / "config.json").write_text('{"activation_function": "torch.hub.load"}')
        else:
            (copy / "2_Dense" / "pytorch_model.bin").touch()
    elif harm == "deep":
        (copy / "config.json").write_text("[" * 100_000)
    elif harm == "pickle":
        (copy / "model.safetensors").unlink()
        (copy / "pytorch_model.bin").touch()
    with pytest.raises(ModelUnavailable):
        check_model_folder(copy)


def test_a_model_folder_as_people_have_them_is_taken(tmp_path: Path) -> None:
    """With pickled weights beside the safe ones, parts of the library, and an activation."""
    library, activation = "sentence_transformers.models", "torch.nn.modules.activation.Tanh"
    (tmp_path / "config.json").write_text('{"model_type": "bert", "activation_function": "gelu_new"}')
    (tmp_path / "modules.json").write_text(f'[{{"type": "{library}.Transformer"}}, {{"type": "{library}.Dense"}}]')
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "a.b"}}')
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "config.json").write_text(f'{{"activation_function": "{activation}"}}')
    for part in (tmp_path, tmp_path / "2_Dense"):
        (part / "model.safetensors").touch()
        (part / "pytorch_model.bin").touch()
    check_model_folder(tmp_path)


def test_the_fingerprint_follows_content_not_time(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    (copy / "config.json").write_text("{}")
    before = model_fingerprint(copy, tmp_path / "memos")
    (copy / "config.json").write_text("{}")
    assert model_fingerprint(copy, tmp_path / "memos") == before
    (copy / "config.json").write_text("[]")
    assert model_fingerprint(copy, tmp_path / "memos") != before


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(1, 2000))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = batch_by_tokens(lengths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget


def test_eight_bits_keep_directions() -> None:
    vectors = np.random.default_rng(1).standard_normal((50, 128)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = quantise(units).astype(np.float32)
    cosines = (codes * units).sum(1) / np.linalg.norm(codes, axis=1)
    assert cosines.min() > 0.999


def test_the_embedded_model_runs_on_the_fast_engine(e5: Encoder) -> None:
    assert isinstance(e5, OpenVinoEncoder)


def test_fitted_constants_are_named_after_the_model_and_are_part_of_what_an_index_remembers(e5: Encoder) -> None:
    assert isinstance(e5, OpenVinoEncoder)
    assert load_projection(e5.model_fingerprint) is not None
    assert load_projection(e5.info.fingerprint) is None, "null control: a refit named like this would be ignored"
