"""BERT-shaped sentence encoders on OpenVINO, the only place that knows it.

The graph is built from the weights of the model folder at start, in a quarter of a second, so there is no second
file that could differ from the first. Two choices keep it small: word embeddings stay outside the graph in
a memory map (a question touches a dozen of 250,000 rows), and inference runs in bf16 where the processor has it.
Measured choices are in docs/decisions/0003-inference-engine.md.
"""

from __future__ import annotations

import json
import queue
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as op
from tokenizers import Tokenizer

from index.encoder import EncoderInfo, Vectors
from index.errors import ModelUnavailable

TOKENS_PER_BATCH = 1024
"""Larger batches gain nothing on two cores; memory grows with them."""

_MASKED = -1e9


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
        tensors = _tensors(folder / "model.safetensors")
        self._words = tensors["embeddings.word_embeddings.weight"]
        self._positions: NDArray[np.float32] = (
            tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        core = openvino.Core()
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if bf16 else "f32"
        compiled = core.compile_model(
            _graph(config, tensors),
            "CPU",
            {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores},
        )
        # One request a stream: as many forward passes run at once as there are cores, the rest wait here.
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        self._streams = cores
        for _ in range(cores):
            self._idle.put(compiled.create_infer_request())
        self.info = EncoderInfo(name, fingerprint, int(config["hidden_size"]), limit, f"openvino-{precision}")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode([self._query_prompt + text for text in texts])

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encode([self._passage_prompt + text for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        encodings = self._tokenizer.encode_batch_fast([self._passage_prompt + text for text in texts])
        return [len(encoding) for encoding in encodings]

    def _encode(self, texts: list[str]) -> Vectors:
        token_ids = [self._clip(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(texts)]
        vectors = np.empty((len(texts), self.info.dimension), np.float32)
        batches: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        count = 0
        for batch in batch_by_tokens([len(ids) for ids in token_ids], TOKENS_PER_BATCH):
            batches.put(batch)
            count += 1
        failures: list[BaseException] = []

        def work() -> None:
            try:
                while True:
                    batch = batches.get_nowait()
                    vectors[batch] = self._forward([token_ids[row] for row in batch])
            except queue.Empty:
                pass
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread below
                failures.append(error)

        helpers = [threading.Thread(target=work) for _ in range(min(self._streams, count) - 1)]
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
        if failures:
            raise failures[0]
        return vectors

    def _clip(self, ids: list[int]) -> list[int]:
        limit = self.info.max_tokens
        return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]

    def _forward(self, token_ids: list[list[int]]) -> Vectors:
        """Run texts of similar length through the model: token states, their mean, unit length."""
        length = max(len(ids) for ids in token_ids)
        ids = np.zeros((len(token_ids), length), np.int64)
        present = np.zeros((len(token_ids), length), np.float32)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            present[row, : len(tokens)] = 1
        embeddings = self._words[ids] + self._positions[:length]
        mask = ((1 - present) * np.float32(_MASKED))[:, None, None, :]
        request = self._idle.get()
        try:
            states = request.infer([embeddings, mask], share_inputs=True, share_outputs=True)[0]
            sums = np.einsum("blh,bl->bh", states, present)
        finally:
            self._idle.put(request)
        means = sums / present.sum(1, keepdims=True)
        vectors: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors


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
    """Build BERT's encoder (Devlin et al. 2019, post-norm) from summed embeddings to the last token states."""
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    epsilon = float(config["layer_norm_eps"])
    # Inputs: embeddings (texts, tokens, hidden); mask (texts, 1, 1, tokens), 0 where there is a token.
    embeddings = op.parameter([-1, -1, hidden], np.float32, name="embeddings")
    mask = op.parameter([-1, 1, 1, -1], np.float32, name="mask")

    def normalise(node: Any, name: str) -> Any:
        scaled = op.mvn(node, op.constant([-1], dtype=np.int64), True, epsilon, "inside_sqrt")
        return op.add(
            op.multiply(scaled, op.constant(tensors[f"{name}.weight"])), op.constant(tensors[f"{name}.bias"])
        )

    def dense(node: Any, name: str) -> Any:
        product = op.matmul(node, op.constant(tensors[f"{name}.weight"]), False, True)
        return op.add(product, op.constant(tensors[f"{name}.bias"]))

    def shaped(node: Any, *shape: int) -> Any:
        return op.reshape(node, op.constant(list(shape), dtype=np.int64), True)

    def swapped(node: Any) -> Any:
        return op.transpose(node, op.constant([0, 2, 1, 3], dtype=np.int64))

    state = normalise(embeddings, "embeddings.LayerNorm")
    for layer in range(int(config["num_hidden_layers"])):
        prefix = f"encoder.layer.{layer}"
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
    return openvino.Model([op.result(state)], [embeddings, mask], "bert")


def _tensors(file: Path) -> dict[str, NDArray[np.float32]]:
    """Map a safetensors file: header length (u64), JSON header, raw tensors. Nothing is copied into memory."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > 2**24:
                raise ValueError
            header = json.loads(stream.read(length))
        return {
            name.removeprefix("bert."): np.memmap(
                file, np.float32, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"])
            )
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] == "F32"
        }
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ModelUnavailable("model_damaged", f"The weights in '{file.name}' cannot be read.") from error


def _optional_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return content
