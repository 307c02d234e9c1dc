"""The catalogue: documents, passages, sentences and vectors in one SQLite file. It is the truth; indexes are caches.

Every change is one transaction that advances the *generation* by one and is on the disk when it returns. What a
document said is kept in versions that were *born* with one generation and *died* with another, so that whoever reads
at a generation sees exactly that state, whatever is written meanwhile. A deleted document is erased at once, its past
included. Ids are never reused, so an id from an old index can only lead to nothing, never to another text.

The queries that read are here; :mod:`index.catalogue_changes` has those that write, :mod:`index.catalogue_file` the
connections and the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index import rows
from index.catalogue_changes import advance, current_document, erase, purge_versions, read_meta, store, store_passages
from index.catalogue_file import CatalogueFile
from index.catalogue_rows import (
    DIGEST,
    VERSION_COLUMNS,
    WANTED,
    WIDTH,
    VectorReader,
    document_of,
    expect_found,
    known_passage,
    known_slice,
)
from index.catalogue_schema import UNKNOWN_ORIGINAL, meta_checksum, write_meta
from index.encoder import EncoderInfo, TokenStates
from index.errors import DataDamaged, ModelMismatch, NotFound
from index.faults import Point, reach
from index.filters import Filters, compile_filters
from index.layout import Layout, unpack
from index.records import Document, Passage, RawDocument, Scalar, Span
from index.stored import (
    Change,
    Counts,
    Died,
    Earlier,
    EmbeddedPassage,
    Listing,
    ModelRow,
    PassageRows,
    Prepared,
    StoredPassage,
    says_the_same,
)

_ALIVE = "versions.born <= ? AND (versions.died IS NULL OR versions.died > ?)"
_DOCUMENT_QUERY = (
    f"SELECT {VERSION_COLUMNS}, coalesce(embedded.passages, 0), documents.number, versions.number FROM documents"
    " JOIN versions ON versions.document = documents.number"
    " LEFT JOIN embedded ON embedded.version = versions.number AND embedded.model = ?"
    f" WHERE {_ALIVE}"
)

_FOUND_AGAIN = 100


def _listed(listing: Listing) -> tuple[list[str], list[Scalar]]:
    """Return SQL conditions for a listing, and the values for their marks."""
    conditions, values = compile_filters(listing.filters)
    if listing.collections is not None:
        conditions.append(f"documents.collection {WANTED}")
        values.append(json.dumps(sorted(listing.collections)))
    if listing.words:
        conditions.append("(instr(casefold(documents.source), ?) OR instr(casefold(versions.title), ?))")
        values += [listing.words.casefold()] * 2
    return conditions, values


class Catalogue:
    """An open catalogue. Reading is safe from any thread; writing is serialised."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        """Open the catalogue in ``folder``, creating it if ``writable`` and there is none.

        Raises:
            DataDamaged: if the file is not a catalogue, or damaged.
            FormatNewer: if a newer version wrote it.
            StorageUnavailable: if the disk does not let it be opened.
        """
        self._file = CatalogueFile(folder, writable=writable)
        self._writable = writable
        try:
            if problem := self._meta_problem():
                raise DataDamaged("data_damaged", f"The catalogue is damaged: {problem}.")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every connection."""
        self._file.close()

    @property
    def write_problem(self) -> str:
        """Why nothing can be written at the moment; empty if it can."""
        return self._file.write_problem

    # ---- models -------------------------------------------------------------------------------------------------

    def bind_model(self, info: EncoderInfo) -> ModelRow:
        """Remember the embedding model on first use, refuse another one ever after.

        Raises:
            ModelMismatch: if the stored vectors in use come from another model.
        """
        active = self.active_model()
        if active is None:
            if not self._writable:
                return ModelRow(0, info.name, info.fingerprint, info.dimension)
            model = self.ensure_model(info)
            with self._file.change() as connection:
                write_meta(connection, {"model": str(model.number)})
            return model
        if active.fingerprint != info.fingerprint:
            raise ModelMismatch(
                "model_mismatch",
                f"This data folder was built with the model '{active.name}' ({active.fingerprint[:12]}), "
                f"not with '{info.name}' ({info.fingerprint[:12]}).",
            )
        return active

    def active_model(self) -> ModelRow | None:
        """Return the model in use, if anything was ever stored."""
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT number, name, fingerprint, dimension FROM models"
                " WHERE number = (SELECT value FROM meta WHERE key = 'model')"
            ).fetchone()
        return None if row is None else ModelRow(*row)

    def models(self) -> list[ModelRow]:
        """Return all models that vectors are stored of."""
        with self._file.reading() as connection:
            found = connection.execute("SELECT number, name, fingerprint, dimension FROM models ORDER BY number")
            return [ModelRow(*row) for row in found.fetchall()]

    def ensure_model(self, info: EncoderInfo) -> ModelRow:
        """Return the row of a model, making it if needed; it is not used for anything yet."""
        with self._file.change() as connection:
            connection.execute(
                "INSERT INTO models (name, fingerprint, dimension) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (info.name, info.fingerprint, info.dimension),
            )
            row = connection.execute(
                "SELECT number, name, fingerprint, dimension FROM models WHERE fingerprint = ?", (info.fingerprint,)
            ).fetchone()
        return ModelRow(*row)

    def promote_model(self, model: ModelRow) -> int:
        """Make a model the one in use; return the generation that begins with it."""
        with self._file.change() as connection:
            number = advance(connection)
            write_meta(connection, {"model": str(model.number)})
            reach(Point.MODEL_BEFORE_PROMOTION)
        return number

    def forget_models(self, kept: Iterable[int]) -> None:
        """Erase the vectors of all models but those of these numbers."""
        numbers = json.dumps(list(kept))
        with self._file.change() as connection:
            connection.execute(f"DELETE FROM passages WHERE model NOT {WANTED}", (numbers,))
            connection.execute(f"DELETE FROM embedded WHERE model NOT {WANTED}", (numbers,))
            connection.execute(f"DELETE FROM models WHERE number NOT {WANTED}", (numbers,))

    def unembedded(self, model: ModelRow, limit: int) -> list[tuple[int, RawDocument]]:
        """Return versions, current or kept, that are not embedded for a model yet, as documents."""
        with self._file.reading() as connection:
            found = connection.execute(
                f"SELECT versions.number, text, {VERSION_COLUMNS} FROM versions"
                " JOIN documents ON documents.number = versions.document"
                " JOIN texts ON texts.version = versions.number WHERE versions.number NOT IN"
                " (SELECT version FROM embedded WHERE model = ?) ORDER BY versions.number LIMIT ?",
                (model.number, limit),
            ).fetchall()
        waiting: list[tuple[int, RawDocument]] = []
        for number, text, *columns in found:
            document = document_of(columns, 0)
            rows.expect_digest(columns[DIGEST], text)
            waiting.append(
                (number, RawDocument(document.source, text, document.title, document.language, document.sha256))
            )
        return waiting

    def count_unembedded(self, model: ModelRow) -> int:
        """Count the versions that are not embedded for a model yet."""
        with self._file.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM versions WHERE number NOT IN (SELECT version FROM embedded WHERE model = ?)",
                (model.number,),
            ).fetchone()
        return int(count)

    def embed(self, version: int, model: ModelRow, passages: Sequence[EmbeddedPassage]) -> None:
        """Store what a model made of a version; nothing of it is searched before the model is promoted."""
        with self._file.change() as connection:
            if connection.execute("SELECT 1 FROM versions WHERE number = ?", (version,)).fetchone():
                store_passages(connection, version, model.number, passages)

    # ---- writing ------------------------------------------------------------------------------------------------

    def add(self, prepared: Sequence[Prepared], collection: str, model: ModelRow, purge: int = 0) -> Change:
        """Store documents, replacing those of the same source; all of them or none.

        A replaced document keeps its id; what it said before stays as a version that died. What says the same already
        is left as it is; if all do, there is no new generation.

        Args:
            prepared: the documents, each source once.
            collection: where they belong.
            model: the one that embedded them.
            purge: versions that died with this generation or earlier are erased.
        """
        with self._file.change() as connection:
            present = [
                current_document(connection, collection, item.document.source, model.number) for item in prepared
            ]
            changed = [
                item for item, known in zip(prepared, present, strict=True) if not says_the_same(known, item.document)
            ]
            same = [known for known in present if known and known.source not in {x.document.source for x in changed}]
            if not changed:  # somebody else has just stored the very same
                return Change(int(read_meta(connection, "generation")), unchanged=tuple(same))
            number = advance(connection)
            died: list[Died] = []
            born = [store(connection, item, collection, model.number, number, died) for item in changed]
            reach(Point.CHANGE_WRITTEN)
            purge_versions(connection, purge)
        return Change(number, tuple(born), tuple(died), tuple(each.document for each in born), tuple(same))

    def remove(self, document_ids: Sequence[str], model: ModelRow, purge: int = 0) -> Change:
        """Erase documents with all that was derived from them and all they said before.

        Raises:
            NotFound: if one of them does not exist; none is erased then.
        """
        with self._file.change() as connection:
            change = erase(connection, document_ids, model.number)
            purge_versions(connection, purge)
        return change

    def remove_where(self, collection: str, filters: Filters, model: ModelRow, purge: int = 0) -> Change | None:
        """Erase the documents of a collection that match; return ``None`` if there are none.

        Raises:
            FilterRejected: if a filter cannot be used.
        """
        conditions, values = compile_filters(filters)
        query = "SELECT documents.id FROM documents JOIN versions ON versions.document = documents.number WHERE "
        where = " AND ".join(["versions.died IS NULL", "documents.collection = ?", *conditions])
        with self._file.change() as connection:
            found = [row[0] for row in connection.execute(query + where, (collection, *values))]
            if not found:
                return None
            change = erase(connection, found, model.number)
            purge_versions(connection, purge)
        return change

    def remove_missing(
        self, collection: str, origin: str, sources: Iterable[str], model: ModelRow, purge: int = 0
    ) -> Change | None:
        """Erase the documents an import brought from ``origin`` whose source is not among ``sources``."""
        with self._file.change() as connection:
            found = [
                row[0]
                for row in connection.execute(
                    f"SELECT id FROM documents WHERE collection = ? AND origin = ? AND source NOT {WANTED}",
                    (collection, origin, json.dumps(list(sources))),
                )
            ]
            if not found:
                return None
            change = erase(connection, found, model.number)
            purge_versions(connection, purge)
        return change

    def set_origin(self, document_ids: Sequence[str], origin: str) -> None:
        """Note which folder unchanged documents were imported from, if that is another than before."""
        wanted = json.dumps(list(document_ids))
        with self._file.reading() as connection:
            (others,) = connection.execute(
                f"SELECT count(*) FROM documents WHERE origin <> ? AND id {WANTED}",
                (origin, wanted),
            ).fetchone()
        if not others:
            return
        with self._file.change() as connection:
            connection.execute(
                f"UPDATE documents SET origin = ? WHERE id {WANTED}",
                (origin, wanted),
            )

    # ---- reading: the whole -------------------------------------------------------------------------------------

    def generation(self) -> int:
        """Return the number of the newest change."""
        return int(self._meta("generation"))

    def oldest(self) -> int:
        """Return the earliest generation that can still be looked at."""
        return int(self._meta("oldest"))

    def identity(self) -> str:
        """Return what tells this catalogue from all others."""
        return self._meta("identity")

    def counts(self, at: int, model: ModelRow) -> Counts:
        """Count what generation ``at`` holds."""
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT count(*), coalesce(sum(embedded.passages), 0), coalesce(sum(embedded.sentences), 0),"
                " coalesce(sum(characters), 0) FROM versions"
                f" LEFT JOIN embedded ON version = versions.number AND model = ? WHERE {_ALIVE}",
                (model.number, at, at),
            ).fetchone()
        return Counts(*row)

    def passage_rows(self, model: ModelRow) -> PassageRows:
        """Read where all passages of a model stand, and see that none is missing or damaged.

        Raises:
            DataDamaged: if one is.
        """
        with self._file.reading() as connection:
            connection.execute("BEGIN")
            versions = connection.execute(
                f"SELECT versions.number, {VERSION_COLUMNS} FROM versions"
                " JOIN documents ON documents.number = versions.document ORDER BY versions.number"
            ).fetchall()
            generation = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
            found = connection.execute(
                "SELECT id, version, model, first, last, digest, checksum FROM passages WHERE model = ? ORDER BY id",
                (model.number,),
            ).fetchall()
            embedded = connection.execute(
                "SELECT version, passages FROM embedded WHERE model = ? ORDER BY version", (model.number,)
            ).fetchall()
            expected = connection.execute("SELECT id_sum FROM models WHERE number = ?", (model.number,)).fetchone()
            connection.execute("COMMIT")
        places = rows.Places.of(found)
        places.expect([row[6] for row in found])
        ids, owners = places.ids, places.versions
        if rows.set_sum(ids) != int(expected[0] if expected else 0):
            raise DataDamaged("data_damaged", "The catalogue's passages are not all there.")
        counted = dict(zip(*(part.tolist() for part in np.unique(owners, return_counts=True)), strict=True))
        if counted != {version: passages for version, passages in embedded if passages}:
            raise DataDamaged("data_damaged", "The catalogue's passages are not those of its documents.")
        for _, *columns in versions:
            document_of(columns, 0)
        newest = max((row[5] or row[4] for row in versions), default=0)
        if generation is None or newest > int(generation[0]):
            raise DataDamaged("data_damaged", "The catalogue's generation is older than its documents.")
        numbers = np.fromiter((row[0] for row in versions), np.int64, len(versions))
        at = np.searchsorted(numbers, owners)
        if not np.array_equal(numbers[np.minimum(at, len(numbers) - 1)] if len(numbers) else numbers, owners):
            raise DataDamaged("data_damaged", "The catalogue's documents are not all there.")
        never = np.iinfo(np.int64).max
        born = np.fromiter((row[4] for row in versions), np.int64, len(versions))
        died = np.fromiter((never if row[5] is None else row[5] for row in versions), np.int64, len(versions))
        return PassageRows(ids, owners, born[at], died[at], rows.marks(row[5] for row in found))

    def count_passages(self, model: ModelRow, upto: int) -> int:
        """Count the stored passages of a model with ids up to ``upto``, current or kept."""
        with self._file.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM passages WHERE model = ? AND id <= ?", (model.number, upto)
            ).fetchone()
        return int(count)

    @contextmanager
    def vectors(self, model: ModelRow) -> Iterator[VectorReader]:
        """Lend a reader of all vectors of a model that sees one state, whatever is written meanwhile."""
        with self._file.reading() as connection:
            connection.execute("BEGIN")
            yield VectorReader(connection, model)
            connection.execute("COMMIT")

    # ---- reading: documents -------------------------------------------------------------------------------------

    def document(self, document_id: str, at: int, model: ModelRow) -> Document:
        """Return one document.

        Raises:
            NotFound: if there is none of this id.
        """
        found = self._documents("documents.id = ?", (document_id,), at, model)
        if not found:
            raise NotFound("document_not_found", f"There is no document '{document_id}'.")
        expect_found(found[0][0].id, document_id)
        return found[0][0]

    def find_source(self, source: str, collection: str, at: int, model: ModelRow) -> Document | None:
        """Return the document of this source, if there is one."""
        found = self._documents("documents.collection = ? AND documents.source = ?", (collection, source), at, model)
        if not found:
            return None
        expect_found((found[0][0].collection, found[0][0].source), (collection, source))
        return found[0][0]

    def find_again(
        self, source: str, sha256: str, collections: frozenset[str] | None, at: int, model: ModelRow
    ) -> list[Document]:
        """Return documents of this source or of this content, the likeliest first; in any collection if ``None``."""
        within, values = _listed(Listing(collections))
        condition = " AND ".join(["(documents.source = ? OR versions.sha256 = ?)", *within])
        with self._file.reading() as connection:
            found = connection.execute(
                f"{_DOCUMENT_QUERY} AND {condition}"
                " ORDER BY documents.source <> ?, versions.sha256 <> ?, documents.number LIMIT ?",
                (model.number, at, at, source, sha256, *values, source, sha256, _FOUND_AGAIN),
            ).fetchall()
        return [document_of(row, row[WIDTH]) for row in found]

    def documents(
        self,
        limit: int,
        after: int,
        at: int,
        model: ModelRow,
        listing: Listing,
    ) -> tuple[list[Document], int | None]:
        """List documents in the order they were first added.

        Returns:
            At most ``limit`` documents with a number above ``after``, and the number to continue after, if any.

        Raises:
            FilterRejected: if a filter cannot be used.
        """
        conditions, values = _listed(listing)
        condition = " AND ".join(["documents.number > ?", *conditions])
        found = self._documents(condition, [after, *values], at, model, limit + 1)
        following = found[limit - 1][1] if len(found) > limit else None
        return [document for document, _ in found[:limit]], following

    def count_documents(self, at: int, listing: Listing) -> int:
        """Count what :meth:`documents` lists altogether."""
        conditions, values = _listed(listing)
        with self._file.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM documents JOIN versions ON versions.document = documents.number"
                f" WHERE {' AND '.join([_ALIVE, *conditions])}",
                (at, at, *values),
            ).fetchone()
        return int(count)

    def collections(self, at: int) -> list[str]:
        """Return the names of all collections that have documents, in order."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT documents.collection FROM documents"
                f" JOIN versions ON versions.document = documents.number WHERE {_ALIVE} ORDER BY 1",
                (at, at),
            ).fetchall()
        return [str(name) for (name,) in rows]

    def original(self, document_id: str, at: int) -> bytes:
        """Return the bytes a document was read from.

        Raises:
            NotFound: if there is none of this id, or an older version of the catalogue did not keep them.
            DataDamaged: if they are not what was stored.
        """
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT coalesce(original, text), sha256 FROM documents"
                " JOIN versions ON versions.document = documents.number"
                f" JOIN texts ON texts.version = versions.number WHERE documents.id = ? AND {_ALIVE}",
                (document_id, at, at),
            ).fetchone()
        if row is None or row[0] == UNKNOWN_ORIGINAL:
            raise NotFound("document_not_found", f"There is no document '{document_id}', or not in its first form.")
        data: bytes = row[0].encode() if isinstance(row[0], str) else row[0]
        expect_found(hashlib.sha256(data).hexdigest(), row[1])
        return data

    def layout(self, document_id: str, at: int) -> Layout:
        """Return where a document's pages, headings and paragraphs are; nowhere if the document is gone.

        Raises:
            DataDamaged: if it is not what was stored.
        """
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT version, layout, layouts.checksum, documents.id FROM documents"
                " JOIN versions ON versions.document = documents.number"
                f" JOIN layouts ON layouts.version = versions.number WHERE documents.id = ? AND {_ALIVE}",
                (document_id, at, at),
            ).fetchone()
        if row is None:
            return Layout()
        version, packed, check, found = row
        expect_found(found, document_id)
        rows.expect(check, version, packed)
        return unpack(packed)

    def text(self, document_id: str, at: int) -> str:
        """Return the text of one document.

        Raises:
            NotFound: if there is none of this id.
        """
        with self._file.reading() as connection:
            row = connection.execute(
                f"SELECT text, {VERSION_COLUMNS} FROM documents"
                " JOIN versions ON versions.document = documents.number"
                f" JOIN texts ON texts.version = versions.number WHERE documents.id = ? AND {_ALIVE}",
                (document_id, at, at),
            ).fetchone()
        if row is None:
            raise NotFound("document_not_found", f"There is no document '{document_id}'.")
        text: str = row[0]
        expect_found(document_of(row[1:], 0).id, document_id)
        rows.expect_digest(row[1 + DIGEST], text)
        return text

    def passages(self, document_id: str, at: int, model: ModelRow) -> list[Passage]:
        """Return the passages of one document in reading order; none if the document is gone."""
        with self._file.reading() as connection:
            found = connection.execute(
                "SELECT passages.id, first, last FROM passages JOIN versions ON versions.number = version"
                " JOIN documents ON documents.number = versions.document"
                f" WHERE documents.id = ? AND model = ? AND {_ALIVE} ORDER BY first",
                (document_id, model.number, at, at),
            ).fetchall()
        return [Passage(id_, document_id, Span(first, last)) for id_, first, last in found]

    def slice(self, document_id: str, span: Span, at: int) -> str | None:
        """Return the code points of ``span`` as they are stored; ``None`` if the document is gone.

        They are compared with the passage around them, which has a checksum of its own, so that a long text need not
        be read whole for a short quote.

        Raises:
            DataDamaged: if what is stored is not what was.
        """
        with self._file.reading() as connection:
            connection.execute("BEGIN")
            row = connection.execute(
                "SELECT substr(text, ?, ?), versions.number, versions.digest, documents.id FROM documents"
                " JOIN versions ON versions.document = documents.number"
                f" JOIN texts ON texts.version = versions.number WHERE documents.id = ? AND {_ALIVE}",
                (span.start + 1, len(span), document_id, at, at),
            ).fetchone()
            known = None if row is None else known_slice(connection, row[1], row[2], span)
            connection.execute("COMMIT")
        if row is None:
            return None
        expect_found((row[0], row[3]), (known, document_id))
        return str(row[0])

    def earlier(self, document_id: str) -> list[Earlier]:
        """Return what is known of a document's past, newest first, even if it is gone."""
        with self._file.reading() as connection:
            found = connection.execute(
                "SELECT number, document, collection, source, sha256, born, died, checksum FROM history"
                " WHERE document = ? ORDER BY number DESC",
                (document_id,),
            ).fetchall()
        for *values, stored in found:
            rows.expect(stored, *values)
        return [Earlier(row[1], row[2], row[3], row[4]) for row in found]

    # ---- reading: for a search ----------------------------------------------------------------------------------

    def allowed_versions(self, collection: str, filters: Filters | None, at: int) -> NDArray[np.int64] | None:
        """Return the versions a filtered search may find, ascending; ``None`` if that is all of them.

        Raises:
            FilterRejected: if a filter names an unknown field or has a wrong shape.
        """
        conditions, values = compile_filters(filters or {})
        with self._file.reading() as connection:
            # The least and the greatest name are looked up in the index; "is there another one" would read all of it.
            ends = connection.execute(
                "SELECT (SELECT min(collection) FROM documents), (SELECT max(collection) FROM documents)"
            ).fetchone()
            if not conditions and ends == (collection, collection):
                return None
            where = " AND ".join(["documents.collection = ?", _ALIVE, *conditions])
            found = connection.execute(
                "SELECT versions.number FROM documents JOIN versions ON versions.document = documents.number"
                f" WHERE {where} ORDER BY versions.number",
                (collection, at, at, *values),
            ).fetchall()
        return np.fromiter((row[0] for row in found), np.int64, len(found))

    def versions_by_language(self, collection: str, at: int) -> dict[str, NDArray[np.int64]]:
        """Return the versions of a collection for each language there is, ascending."""
        found: dict[str, list[int]] = {}
        with self._file.reading() as connection:
            for language, number in connection.execute(
                "SELECT language, versions.number FROM documents"
                " JOIN versions ON versions.document = documents.number"
                f" WHERE documents.collection = ? AND {_ALIVE} ORDER BY versions.number",
                (collection, at, at),
            ):
                found.setdefault(language, []).append(number)
        return {language: np.array(numbers, np.int64) for language, numbers in found.items()}

    def hydrate(self, passage_ids: Iterable[int], at: int, model: ModelRow) -> dict[int, StoredPassage]:
        """Read live passages with document, text, sentences and vectors; ids that are not live are left out.

        Raises:
            DataDamaged: if a row is damaged.
        """
        with self._file.reading() as connection:
            found = connection.execute(
                "SELECT passages.id, versions.number, passages.model, first, last, passages.digest,"
                " passages.checksum, contents.text,"
                " contents.sentences, vector, sentence_vectors, contents.checksum, embedded.passages,"
                f" {VERSION_COLUMNS}"
                " FROM passages JOIN contents ON passage = passages.id"
                " JOIN versions ON versions.number = passages.version"
                " JOIN documents ON documents.number = versions.document"
                " JOIN embedded ON embedded.version = versions.number AND embedded.model = passages.model"
                f" WHERE passages.id {WANTED} AND passages.model = ? AND {_ALIVE}",
                (json.dumps(list(passage_ids)), model.number, at, at),
            ).fetchall()
        documents: dict[int, Document] = {}
        rows.Places.of(found).expect([row[6] for row in found])
        for row in found:
            rows.expect(row[11], *row[7:11])
            rows.expect_digest(row[5], row[7])
            if row[1] not in documents:
                documents[row[1]] = document_of(row[13:], row[12])
        vectors = rows.unpack_vectors(b"".join(row[9] for row in found), model.dimension)
        others = rows.unpack_vectors(b"".join(row[10] for row in found), model.dimension)
        ends = np.cumsum([len(row[10]) // (2 * model.dimension) for row in found]).tolist()
        return {
            row[0]: StoredPassage(
                Passage(row[0], documents[row[1]].id, Span(row[3], row[4])),
                documents[row[1]],
                row[7],
                vectors[place : place + 1],
                row[8],
                others[begin:end],
            )
            for place, (row, begin, end) in enumerate(zip(found, [0, *ends], ends, strict=False))
        }

    def token_states(self, passage_ids: Iterable[int]) -> dict[int, TokenStates]:
        """Read the token states of passages; one that was erased, or has no states stored, is left out.

        Raises:
            DataDamaged: if a row is damaged.
        """
        with self._file.reading() as connection:
            found = connection.execute(
                f"SELECT passage, tokens, codes, starts, checksum FROM token_states WHERE passage {WANTED}",
                (json.dumps(list(passage_ids)),),
            ).fetchall()
        states: dict[int, TokenStates] = {}
        for passage, tokens, codes, starts, stored in found:
            rows.expect(stored, passage, tokens, codes, starts)
            states[passage] = rows.unpack_states(tokens, codes, starts)
        return states

    def known_passages(self, digests: Iterable[bytes], model: ModelRow) -> dict[tuple[bytes, bytes], EmbeddedPassage]:
        """Return passages that were embedded before, by their text's digest and their packed sentences."""
        known: dict[tuple[bytes, bytes], EmbeddedPassage] = {}
        with self._file.reading() as connection:
            for digest in set(digests):
                row = connection.execute(
                    "SELECT first, last, text, sentences, vector, sentence_vectors, contents.checksum, tokens, codes,"
                    " starts, token_states.checksum, passages.id FROM passages"
                    " JOIN contents ON contents.passage = passages.id"
                    " LEFT JOIN token_states ON token_states.passage = passages.id"
                    " WHERE digest = ? AND model = ? LIMIT 1",
                    (digest, model.number),
                ).fetchone()
                if row is not None:
                    known[digest, row[3]] = known_passage(row, digest, model.dimension)
        return known

    # ---- checking -----------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Check the whole file, every row of it, and say what is wrong; empty if nothing is."""
        from index.catalogue_check import find_problems

        try:
            with self._file.reading() as connection:
                found = list(find_problems(connection))
            for model in self.models():
                self.passage_rows(model)
        except DataDamaged as error:
            return [f"catalogue: {error.message}"]
        except (ValueError, RecursionError) as error:
            return [f"catalogue: it holds what no version has written ({type(error).__name__})"]
        if problem := self._meta_problem():
            found.append(f"catalogue: {problem}")
        return found

    # ---- inside -------------------------------------------------------------------------------------------------

    def _meta(self, key: str) -> str:
        with self._file.reading() as connection:
            return read_meta(connection, key)

    def _meta_problem(self) -> str:
        with self._file.reading() as connection:
            values = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        return "" if values.get("checksum") == meta_checksum(values) else "what it says of itself was changed"

    def _documents(
        self, condition: str, values: Sequence[object], at: int, model: ModelRow, limit: int = 1
    ) -> list[tuple[Document, int]]:
        with self._file.reading() as connection:
            found = connection.execute(
                f"{_DOCUMENT_QUERY} AND {condition} ORDER BY documents.number LIMIT ?",
                (model.number, at, at, *values, limit),
            ).fetchall()
        return [(document_of(row, row[WIDTH]), int(row[WIDTH + 1])) for row in found]
