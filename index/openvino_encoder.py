"""BERT-shaped sentence encoders on OpenVINO, the only place that knows it.

The graph is built from the weights of the model folder at start, in a quarter of a second, so there is no second
file that could differ from the first. Two choices keep it small: word embeddings stay outside the graph in
a memory map (a question touches a dozen of 250,000 rows), and inference runs in bf16 where the processor has it.
Measured choices are in docs/decisions/0003-inference-engine.md.
"""

from __future__ import annotations

import copy
import json
import mmap
import os
import queue
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.encoder import EncodedPassages, EncodedQuery, EncoderInfo, TokenStates, Vectors
from index.errors import ModelUnavailable
from index.precedence import Precedence
from index.projection import Projection, load_projection
from index.tokenizer import LibraryTokenizer, TextTokenizer, Tokens
from index.unigram import open_unigram

# OpenVINO reports each import of itself to an analytics server, unless its telemetry cannot be imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
# What is prepared for each shape met is kept, a megabyte or two a shape, up to a thousand of them. Texts to index
# come in ever new shapes, and to prepare one again costs no time that could be measured.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
import openvino  # noqa: E402
from openvino import opset13 as op  # noqa: E402

TOKENS_PER_BATCH = 512
"""Larger batches gain nothing measurable; memory grows with them."""
TOKENS_BETWEEN_QUESTIONS = 256
"""While questions come: smaller batches cost some more, and are over sooner."""

_MASKED = -1e9
_SHAPE_STEP = 16
_SHAPES_KEPT = 16
"""For each graph; a megabyte and more a shape, and the small uploads of an hour have hundreds of them."""
_QUESTION, _PASSAGE, _RAW = "question", "passage", "raw"  # which token states a forward pass is to give


def can_compute(folder: Path) -> bool:
    """Say whether the model is one this engine computes: BERT, mean pooling, normalised, a fast tokenizer."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        pooling = json.loads((folder / "1_Pooling" / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    mean_only = [key for key, value in pooling.items() if key.startswith("pooling_mode") and value is True]
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and kinds == ["Transformer", "Pooling", "Normalize"]
        and mean_only == ["pooling_mode_mean_tokens"]
        and (folder / "tokenizer.json").is_file()
        and (folder / "model.safetensors").is_file()
    )


class OpenVinoEncoder:
    """An :class:`index.encoder.Encoder`; safe to use from several threads, which then run side by side."""

    def __init__(self, name: str, folder: Path, fingerprint: str, cores: int) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        settings = _optional_json(folder / "sentence_bert_config.json")
        prompts = _optional_json(folder / "config_sentence_transformers.json").get("prompts", {})
        self._query_prompt = prompts.get("query", "")
        self._passage_prompt = prompts.get("document", prompts.get("passage", ""))
        limit = min(settings.get("max_seq_length") or 512, config["max_position_embeddings"])
        weights = _Weights(folder / "model.safetensors")
        tensors = weights.tensors
        self._words = tensors["embeddings.word_embeddings.weight"]
        self._positions: NDArray[np.float32] = (
            tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        self._tokenizer: TextTokenizer = open_unigram(folder) or LibraryTokenizer(folder / "tokenizer.json")
        self.model_fingerprint = fingerprint
        """Of the model alone; what a projection fitted for it must carry."""
        core = openvino.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if bf16 else "f32"
        graph = _graph(config, tensors)

        def pool(streams: int) -> _Pool:
            settings = {
                "INFERENCE_PRECISION_HINT": precision,
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": cores,
                "CPU_RUNTIME_CACHE_CAPACITY": _SHAPES_KEPT,
            }
            return _Pool(core.compile_model(graph, "CPU", settings), streams, weights)

        # Many texts: one forward pass a core, which wastes no time on waiting for one another. A single question:
        # all cores on one pass, which takes two thirds of the time; while that one is busy, others share the first
        # kind.
        self._shared = pool(cores)
        self._alone = pool(1)
        self._streams = cores
        self._precedence = Precedence(cores)
        self._projection: Projection | None = None
        self.info = EncoderInfo(name, fingerprint, int(config["hidden_size"]), limit, 0, f"openvino-{precision}")
        if (projection := load_projection(fingerprint)) is not None:
            self._use(projection)

    def with_projection(self, projection: Projection) -> OpenVinoEncoder:
        """Return the same model with other constants; both share the compiled graph."""
        other = copy.copy(self)
        other._use(projection)
        return other

    def _use(self, projection: Projection) -> None:
        """Take constants; vectors and token states depend on them, and so does the fingerprint."""
        self._projection = projection
        fingerprint = sha256(f"{self.model_fingerprint} {projection.digest}".encode()).hexdigest()
        self.info = replace(self.info, fingerprint=fingerprint, token_dimension=projection.dimension)

    @property
    def centre(self) -> Vectors | None:
        """See :class:`index.encoder.Encoder`."""
        return self._projection.vectors if self._projection else None

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """See :class:`index.encoder.Encoder`."""
        with self._precedence.question():
            vectors, states = self._encode(self._query_prompt, texts, _QUESTION)
        if self._projection is None:
            nothing = _NO_STATES.tokens
            return [EncodedQuery(vector, vector, nothing, nothing.reshape(-1)) for vector in vectors]
        return [
            EncodedQuery(
                vector, self._projection.centre_question(vector), state.tokens, self._projection.weigh(state.ids)
            )
            for vector, state in zip(vectors, states, strict=True)
        ]

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """See :class:`index.encoder.Encoder`."""
        vectors, states = self._encode(self._passage_prompt, texts, _PASSAGE)
        if self._projection is None:
            return EncodedPassages(vectors, ())
        return EncodedPassages(
            vectors,
            tuple(TokenStates(quantise(state.tokens), state.starts.astype(np.uint16)) for state in states),
        )

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        """See :class:`index.encoder.Encoder`."""
        vectors, _ = self._encode(self._passage_prompt, texts)
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See :class:`index.encoder.Encoder`."""
        return self._tokenizer.count([self._passage_prompt + text for text in texts])

    def folded_tokens(self) -> NDArray[np.int64]:
        """Return for each token id the least id of those that differ from it in case only; shape (vocabulary,)."""
        first: dict[str, int] = {}
        pieces = sorted(self._tokenizer.vocabulary().items(), key=lambda item: item[1])
        folded = np.arange(1 + max(id_ for _, id_ in pieces))
        for piece, id_ in pieces:
            folded[id_] = first.setdefault(piece.casefold(), id_)
        return folded

    def raw_states(
        self, texts: Sequence[str], *, questions: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.int64]]]:
        """Return what a projection is fitted on.

        Returns:
            The content tokens' states of the last two layers, each (all tokens, hidden), and each text's token ids.
        """
        prompt = self._query_prompt if questions else self._passage_prompt
        _, states = self._encode(prompt, texts, _RAW)
        both = np.concatenate([state.tokens for state in states])
        hidden = self.info.dimension
        return both[:, :hidden], both[:, hidden:], [state.ids for state in states]

    def _encode(self, prompt: str, texts: Sequence[str], want: str = "") -> tuple[Vectors, list[_States]]:
        limit = self.info.max_tokens
        inputs = [
            _Tokens(tokens, prompt + text, len(prompt), limit)
            for tokens, text in zip(self._tokenizer.encode([prompt + text for text in texts]), texts, strict=True)
        ]
        vectors = np.empty((len(texts), self.info.dimension), np.float32)
        states: list[_States] = [_NO_STATES] * len(texts)
        batches: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        count = 0
        for batch in batch_by_tokens([len(each.ids) for each in inputs], TOKENS_PER_BATCH):
            batches.put(batch)
            count += 1
        failures: list[BaseException] = []

        def work() -> None:
            try:
                while True:
                    for part in self._parts(batches.get_nowait(), inputs, want):
                        rows = [inputs[row] for row in part]
                        if want == _QUESTION:
                            means, tokens = self._forward(rows, want, count == 1)
                        else:
                            with self._precedence.piece():
                                means, tokens = self._forward(
                                    rows, want, count == 1 and not self._precedence.expected
                                )
                        vectors[part] = means
                        for row, state in zip(part, tokens, strict=True):
                            states[row] = state
            except queue.Empty:
                pass
            except BaseException as error:
                failures.append(error)  # raised again in the caller's thread

        helpers = [threading.Thread(target=work) for _ in range(min(self._streams, count) - 1)]
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
        if failures:
            raise failures[0]
        return vectors, states

    def _parts(self, batch: list[int], inputs: list[_Tokens], want: str) -> list[list[int]]:
        if want == _QUESTION or not self._precedence.expected:
            return [batch]
        size = max(1, TOKENS_BETWEEN_QUESTIONS // len(inputs[batch[0]].ids))  # the first is the longest
        return [batch[first : first + size] for first in range(0, len(batch), size)]

    def _forward(self, inputs: list[_Tokens], want: str, alone: bool) -> tuple[Vectors, list[_States]]:
        """Run texts of similar length through the model: their unit vectors and projected token states."""
        length = max(len(each.ids) for each in inputs)
        if alone:  # a shape met before needs no preparation, which costs more than some empty places
            length = min(-(-length // _SHAPE_STEP) * _SHAPE_STEP, self.info.max_tokens)
        ids = np.zeros((len(inputs), length), np.int64)
        present = np.zeros((len(inputs), length), np.float32)
        for row, each in enumerate(inputs):
            ids[row, : len(each.ids)] = each.ids
            present[row, : len(each.ids)] = 1
        embeddings = self._words[ids] + self._positions[:length]
        mask = ((1 - present) * np.float32(_MASKED))[:, None, None, :]
        pool = self._alone if alone and not self._alone.busy() else self._shared
        with pool.request() as request:
            # The outputs are views into the request, so they are used up before it is handed on.
            below, last = request.infer([embeddings, mask], share_inputs=True, share_outputs=True).to_tuple()
            means = np.einsum("blh,bl->bh", last, present) / present.sum(1, keepdims=True)
            states = [
                self._states(each, below[row], last[row], want) if want else _NO_STATES
                for row, each in enumerate(inputs)
            ]
        vectors: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors, states

    def _states(self, tokens: _Tokens, below: NDArray[np.float32], last: NDArray[np.float32], want: str) -> _States:
        rows = tokens.content
        ids = np.asarray(tokens.ids)[rows]
        if want == _RAW:
            return _States(ids, np.concatenate([below[rows], last[rows]], axis=1), tokens.starts)
        if self._projection is None:
            return _NO_STATES
        means = self._projection.question_states if want == _QUESTION else self._projection.passage_states
        return _States(ids, self._projection.project(below[rows], last[rows], means), tokens.starts)


class _Pool:
    """The requests to one compiled graph: as many forward passes as may run at a time."""

    def __init__(self, compiled: openvino.CompiledModel, streams: int, weights: _Weights) -> None:
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())
        self._weights = weights
        self._fresh = 2 * streams  # passes after which the weights are packed, all streams having begun
        weights.forget()

    def busy(self) -> bool:
        """Say whether one who asks for a request now has to wait; another may come between."""
        return self._idle.empty()

    @contextmanager
    def request(self) -> Iterator[openvino.InferRequest]:
        """Lend a request, as soon as one is free."""
        request = self._idle.get()
        try:
            yield request
        finally:
            self._idle.put(request)
            if self._fresh > 0:  # the first pass reads all weights and packs them for the processor
                self._fresh -= 1
                self._weights.forget()


class _Tokens:
    """A tokenized text, clipped to the model's limit: which rows are content, and where each begins in the text."""

    __slots__ = ("content", "ids", "starts")

    def __init__(self, tokens: Tokens, text: str, prompt: int, limit: int) -> None:
        ids, offsets = tokens.ids, tokens.offsets
        if len(ids) > limit:
            ids, offsets = [*ids[: limit - 1], ids[-1]], [*offsets[: limit - 1], offsets[-1]]
        self.ids: list[int] = ids
        # A word's first token includes the space before it, which for the first word belongs to the prompt.
        begins = [end - len(text[start:end].lstrip()) for start, end in offsets]
        # Special tokens are empty; the prompt's tokens begin before the text does.
        content = [row for row, (_, end) in enumerate(offsets) if end > begins[row] >= prompt]
        self.content = np.array(content, np.int64)
        self.starts = np.array([begins[row] - prompt for row in content], np.int64)


@dataclass(frozen=True, slots=True)
class _States:
    """The content tokens of one text: their ids and states, and where each begins."""

    ids: NDArray[np.int64]
    tokens: NDArray[np.float32]
    starts: NDArray[np.int64]


_NO_STATES = _States(np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty(0, np.int64))


def quantise(units: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round unit vectors to 8 bits, each stretched to use the whole range; shape is kept."""
    peaks = np.abs(units).max(axis=1, keepdims=True, initial=1e-9)
    codes: NDArray[np.int8] = np.rint(units * (127 / peaks)).astype(np.int8)
    return codes


def batch_by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group texts of similar length so that a batch, padded to its longest text, has at most ``budget`` tokens.

    Longest first, so that the last batches to run are short ones and the cores finish together.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _graph(config: dict[str, Any], tensors: dict[str, NDArray[np.float32]]) -> openvino.Model:
    """Build BERT's encoder (Devlin et al. 2019, post-norm): summed embeddings to the last two layers' states."""
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    epsilon = float(config["layer_norm_eps"])
    # Inputs: embeddings (texts, tokens, hidden); mask (texts, 1, 1, tokens), 0 where there is a token.
    embeddings = op.parameter([-1, -1, hidden], np.float32, name="embeddings")
    mask = op.parameter([-1, 1, 1, -1], np.float32, name="mask")

    def constant(name: str) -> Any:
        return op.constant(tensors[name], shared_memory=True)

    def normalise(node: Any, name: str) -> Any:
        scaled = op.mvn(node, op.constant([-1], dtype=np.int64), True, epsilon, "inside_sqrt")
        return op.add(op.multiply(scaled, constant(f"{name}.weight")), constant(f"{name}.bias"))

    def dense(node: Any, name: str) -> Any:
        return op.add(op.matmul(node, constant(f"{name}.weight"), False, True), constant(f"{name}.bias"))

    def shaped(node: Any, *shape: int) -> Any:
        return op.reshape(node, op.constant(list(shape), dtype=np.int64), True)

    def swapped(node: Any) -> Any:
        return op.transpose(node, op.constant([0, 2, 1, 3], dtype=np.int64))

    below = state = normalise(embeddings, "embeddings.LayerNorm")
    for layer in range(int(config["num_hidden_layers"])):
        prefix = f"encoder.layer.{layer}"
        below = state
        query, key, value = (
            swapped(shaped(dense(state, f"{prefix}.attention.self.{part}"), 0, 0, heads, hidden // heads))
            for part in ("query", "key", "value")
        )
        attention = shaped(swapped(op.scaled_dot_product_attention(query, key, value, mask)), 0, 0, hidden)
        attention = dense(attention, f"{prefix}.attention.output.dense")
        state = normalise(op.add(attention, state), f"{prefix}.attention.output.LayerNorm")
        inner = op.gelu(dense(state, f"{prefix}.intermediate.dense"), "erf")
        inner = dense(inner, f"{prefix}.output.dense")
        state = normalise(op.add(inner, state), f"{prefix}.output.LayerNorm")
    return openvino.Model([op.result(below), op.result(state)], [embeddings, mask], "bert")


class _Weights:
    """A safetensors file, mapped: header length (u64), JSON header, raw tensors. Nothing is copied into memory."""

    def __init__(self, file: Path) -> None:
        try:
            with file.open("rb") as stream:
                # OpenVINO takes constants it need not copy only from memory that could be written to.
                self._mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            (length,) = struct.unpack_from("<Q", self._mapped)
            if length > 2**24:
                raise ValueError
            header = json.loads(self._mapped[8 : 8 + length])
            self.tensors: dict[str, NDArray[np.float32]] = {
                name.removeprefix("bert."): np.ndarray(
                    entry["shape"], np.float32, self._mapped, 8 + length + entry["data_offsets"][0]
                )
                for name, entry in header.items()
                if name != "__metadata__" and entry["dtype"] == "F32"
            }
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise ModelUnavailable("model_damaged", f"The weights in '{file.name}' cannot be read.") from error

    def forget(self) -> None:
        """Give back the pages read so far; what is needed again comes from the file."""
        self._mapped.madvise(mmap.MADV_DONTNEED)


def _optional_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return content
