from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import DocumentRejected, NothingReadable
from index.load import (
    MAX_BYTES,
    FoundFile,
    Rejection,
    check_source,
    decode,
    document_from_bytes,
    document_from_text,
    find_files,
    read_file,
)

GERMAN = (
    "Am 3. Oktober wurde die Gerberbrücke gesperrt. Das ärgert viele Bürger an der Tesse, sagte der Bürgermeister."
)
text_without_controls = st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1).filter(
    lambda text: not text.startswith("\ufeff")
)


def code(error: pytest.ExceptionInfo[DocumentRejected]) -> str:
    return error.value.code


@given(text_without_controls)
def test_utf8_text_is_unchanged(text: str) -> None:
    assert decode(text.encode("utf-8")) == text


@given(text_without_controls, st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]))
def test_only_the_byte_order_mark_is_dropped(text: str, encoding: str) -> None:
    assert decode(f"\ufeff{text}".encode(encoding)) == text


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
def test_line_ends_stay(ends: str) -> None:
    text = f"Erste Zeile{ends}{ends}Zweite Zeile{ends}"
    assert document_from_bytes("a.txt", text.encode()).text == text


@pytest.mark.parametrize("encoding", ["cp1252", "iso-8859-15", "utf-16"])
def test_other_encodings_are_detected(encoding: str) -> None:
    assert decode((GERMAN * 3).encode(encoding)) == GERMAN * 3


def test_russian_in_its_old_encoding() -> None:
    text = "Почему закрывают мост через реку? Потому что он ржавеет уже много лет, говорит инженер. " * 3
    assert decode(text.encode("cp1251")) == text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "document_empty"),
        (b" \n\t ", "document_empty"),
        (b"... --- !!!", "document_empty"),
        (codecs.BOM_UTF8, "document_empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "document_binary"),
        (bytes(range(1, 32)) * 20, "document_binary"),
        (codecs.BOM_UTF16_LE + b"odd", "document_encoding"),
        (codecs.BOM_UTF8 + b"ok \xff", "document_encoding"),
        (GERMAN.encode()[:-1] + b"\xc3.", "document_encoding"),
        (("Müller " * 20).encode() + b"\xfc", "document_encoding"),
    ],
)
def test_what_is_not_text_is_rejected(data: bytes, expected: str) -> None:
    with pytest.raises(DocumentRejected) as error:
        document_from_bytes("a.txt", data)
    assert code(error) == expected


def test_damaged_utf8_is_not_guessed_at() -> None:
    """The null control of the rule: without it, charset-normalizer turns the umlauts into two letters each."""
    from charset_normalizer import from_bytes

    damaged = ("Müller über Änderung " * 20).encode() + b"\xfc rest"
    guess = from_bytes(damaged).best()
    assert guess is None or "Müller" not in str(guess)
    with pytest.raises(DocumentRejected):
        decode(damaged)


def test_too_large_files_are_not_even_read(tmp_path: Path) -> None:
    file = tmp_path / "large.txt"
    with file.open("wb") as stream:
        stream.truncate(200 * 2**20)
    with pytest.raises(DocumentRejected) as error:
        read_file(FoundFile(file, "large.txt"))
    assert code(error) == "document_too_large"


def test_the_limit_holds_for_bytes_too() -> None:
    with pytest.raises(DocumentRejected) as error:
        document_from_bytes("a.txt", b"a" * (MAX_BYTES + 1))
    assert code(error) == "document_too_large"


@pytest.mark.parametrize("source", ["", " ", "a\0b.txt", "a\nb.txt", "x" * 256, "\ud800.txt", "a\u202eb.txt"])
def test_names_that_cannot_be_shown_are_rejected(source: str) -> None:
    with pytest.raises(DocumentRejected) as error:
        check_source(source)
    assert code(error) == "source_invalid"


def test_half_a_character_is_rejected() -> None:
    with pytest.raises(DocumentRejected) as error:
        document_from_text("a.txt", "Ein \ud83d halbes Zeichen")
    assert code(error) == "document_encoding"


@pytest.mark.parametrize("metadata", [{"a": float("nan")}, {"a": "x" * 20_000}, {"a": "\ud800"}, {"a": [1]}])
def test_metadata_that_cannot_be_stored_is_rejected(metadata: dict[str, str]) -> None:
    with pytest.raises(DocumentRejected) as error:
        document_from_text("a.txt", "Text", metadata=metadata)
    assert code(error) == "metadata_invalid"


@pytest.mark.parametrize(
    ("source", "text", "title"),
    [
        ("a.md", "# Ein Fund im Archiv\n\nText.", "Ein Fund im Archiv"),
        ("a.txt", "Ein Fund im Archiv\n\nText.", "Ein Fund im Archiv"),
        ("letters/1848-03.txt", "Ein ganzer Satz steht hier.\n\nText.", "1848-03"),
        ("a.txt", "Nur eine Zeile", "a"),
    ],
)
def test_titles(source: str, text: str, title: str) -> None:
    assert document_from_text(source, text).title == title


def test_languages() -> None:
    assert document_from_text("a.txt", GERMAN).language == "de"
    assert document_from_text("b.txt", "The bridge over the river will be closed for months.").language == "en"


def test_a_folder_is_walked_in_order_and_named_relative(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/c.txt", ".hidden.txt", ".git/d.txt", "image.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("text")
    found = list(find_files([tmp_path]))
    assert [item.source for item in found] == ["a.md", "b.txt", "image.png", "sub/c.txt"]
    rejected = [item for item in found if isinstance(item, Rejection)]
    assert [item.error.code for item in rejected] == ["document_format"]


def test_a_second_file_of_the_same_name_does_not_overwrite_the_first(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
    found = list(find_files([tmp_path / "one", tmp_path / "two"]))
    assert isinstance(found[0], FoundFile)
    assert isinstance(found[1], Rejection)
    assert found[1].error.code == "source_conflict"


def test_the_same_folder_twice_is_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert [item.source for item in find_files([tmp_path, tmp_path])] == ["a.txt"]


def test_links_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (found,) = find_files([tmp_path / "in"])
    assert isinstance(found, Rejection)


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingReadable):
        list(find_files([tmp_path / "absent"]))


@pytest.mark.parametrize(
    ("name", "part", "most"), [("a.txt", "a\n", 500_000), ("a.txt", "a\n\n", 200_000), ("a.md", "# a\n", 50_000)]
)
def test_a_document_of_too_many_parts_is_refused(name: str, part: str, most: int) -> None:
    assert document_from_bytes(name, (part * most).encode()).text
    with pytest.raises(DocumentRejected) as refused:
        document_from_bytes(name, (part * (most + 1)).encode())
    assert refused.value.code == "document_too_complex"
