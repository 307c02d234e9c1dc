"""Any sentence-transformers model, with its own prompts and pooling: the only place that knows the library.

It brings PyTorch along, which takes seconds to import, so it is imported when such a model is opened, not before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index.encoder import EncodedPassages, EncodedQuery, EncoderInfo, Progress, Vectors
from index.errors import ModelUnavailable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class SentenceTransformerEncoder:
    """An :class:`index.encoder.Encoder` that runs on PyTorch."""

    def __init__(self, name: str, folder: Path, fingerprint: str, cores: int) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the folder is complete; nothing may be looked up
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(cores)
        try:
            self._model: SentenceTransformer = SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelUnavailable("model_unavailable", f"'{name}' cannot be opened as a model: {error}.") from error
        dimension = self._model.get_embedding_dimension()
        if dimension is None:
            raise ModelUnavailable("model_unavailable", f"'{name}' does not say how long its vectors are.")
        limit = self._model.max_seq_length or 512
        self.info = EncoderInfo(name, fingerprint, dimension, int(limit), 0, "pytorch-f32")

    @property
    def centre(self) -> None:
        """See :class:`index.encoder.Encoder`; nothing is known of this model's means."""
        return None

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """See :class:`index.encoder.Encoder`."""
        vectors = self._model.encode_query(list(texts), normalize_embeddings=True, show_progress_bar=False)
        nothing = np.empty((0, 0), np.float32)
        return [
            EncodedQuery(vector, vector, nothing, nothing.reshape(-1)) for vector in np.asarray(vectors, np.float32)
        ]

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        """See :class:`index.encoder.Encoder`."""
        return EncodedPassages(self.encode_sentences(texts), ())

    def encode_sentences(self, texts: Sequence[str]) -> Vectors:
        """See :class:`index.encoder.Encoder`."""
        vectors = self._model.encode_document(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See :class:`index.encoder.Encoder`."""
        prompts = self._model.prompts
        prompt = prompts.get("document") or prompts.get("passage") or ""
        encoded = self._model.tokenizer([prompt + text for text in texts], truncation=False, padding=False)
        return [len(ids) for ids in encoded["input_ids"]]


def fetch_hub_model(name: str, progress: Progress) -> Path:
    """Return the folder of a hub model, from the local hub cache if it is there, else by download.

    Raises:
        ModelUnavailable: if the name is not one of the hub, or the hub cannot be reached.
    """
    if not _HUB_NAME.fullmatch(name):
        raise ModelUnavailable("model_unavailable", f"There is no model folder '{name}'.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "*.txt", "*.model"]
    unwanted = ["onnx/*", "openvino/*"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=unwanted, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        progress(f"Fetching the model {name} from the hub ...")
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=unwanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelUnavailable(
            "model_unavailable",
            f"There is no folder '{name}', and the hub has no such model or cannot be reached.",
        ) from error
