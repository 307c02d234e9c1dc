"""Follow-up questions: what is carried over, what is not, and that nothing but literal words is ever searched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from typer.testing import CliRunner

from index import Encoder, Library, document_from_text
from index.search import check_query
from service import answer, cli
from service.answer import AnswerPolicy, answer_question
from service.app import build_app
from service.followup import MAX_CHARACTERS, WORDINGS, is_follow_up, searched_query
from service.routes import AppState
from tests.conftest import SHARED

FOLLOW_UPS = """
And France? | France? | why? | How much? | and what did Germany offer Mali?
But who pays for the repair of the bridge? | What about the soldiers?
How about the ferry between the two banks? | When does it close? | Who pays for them? | How did he get there?
Who signed this treaty? | Also in winter? | Then who won? | What did she say about that? | Und Frankreich?
und wie lange dauert es bis zur Eröffnung? | Warum? | Wann fährt sie? | Wer hat das Geld dafür?
Wie kommt man dorthin? | Was ist mit den Schülern? | Wurde dabei jemand verletzt?
Aber wer bezahlt die Sanierung? | Et la France ? | et qui les a transcrites ? | Pourquoi pas ?
Combien coûte cela ? | Mais quand l'exposition ouvre-t-elle ? | ¿Y Francia?
y cuánto cuesta el billete del transbordador | ¿Por qué? | ¿Dónde vive ella? | Pero, ¿quién lo paga?
E la Francia? | e quanto costa il biglietto del traghetto? | Ma chi paga? | Quando è nato lui? | E a França?
e quando abre a ponte? | Mas quem paga a obra? | Onde moram eles? | En Frankrijk?
En hoe zit het met de kinderen van de school? | Maar wie betaalt dat? | Wat kost deze boot? | Och Frankrike?
och när öppnar bron igen? | Vad sade han? | Og Frankrig? | og hvornår åbner broen igen? | Hvor bor hun?
A Francja? | A kiedy zostanie otwarty? | Gdzie on mieszka? | A co Francie? | A kdy se most znovu otevře?
Kde bydlí ona? | А Франция? | А когда откроют мост? | Сколько им лет? | Кто туда поедет?
А коли відкриють міст? | Скільки їм років? | Peki ne zaman açılacak? | Ve Fransa? | Bunu kim ödedi?
Και η Γαλλία; | και πότε θα ανοίξει η γέφυρα; | Și când se deschide podul? | Và khi nào cầu mở lại?
Còn Pháp thì sao? | और पुल कब खुलेगा? | 那法国呢？ | 那么大桥什么时候重新开放？ | 为什么？
では、橋はいつ開きますか？ | なぜ？ | แล้วสะพานจะเปิดเมื่อไหร่
"""
ALONE = """
What did Germany offer France? | Is it true that the bridge over the Tesse will be closed for eleven months?
Who is Le Drian? | How many people were there in the town of Orlenstein?
Which of their promises did the ministers of Germany keep? | Andorra has how many inhabitants?
What is Y. pestis and which disease does the bacterium cause? | Y. pestis was found when?
Was bot Deutschland Frankreich an? | Wie viele Brücken gibt es in Tessenbrück?
Wer ist Bürgermeister von Tessenbrück?
Wie alt war der Uhrmacher aus Orlenstein, als er seine Werkstatt bei dem großen Brand verlor?
Was ist ein Hopfengarten? | Quand la bibliothèque a-t-elle été fermée ?
Combien de trains y a-t-il dans la vallée ? | En quelle année le pont ouvre ?
¿Quién es el presidente de Francia? | ¿En qué año se construyó el puente?
¿A cuántos soldados equivalen las brigadas? | Chi è il sindaco di Tessenbrück? | A ponte fecha quando?
Quem é o presidente da França? | Wie is de burgemeester van Gent? | Hvem er statsminister i Danmark?
Hvad er prisen på en billet? | Vem är statsminister i Sverige? | Kto jest prezydentem Francji?
Кто президент Франции? | Сколько гектаров хмеля затопило? | Fransa'nın başkanı kimdir?
Ποιος είναι ο πρόεδρος της Γαλλίας; | I want to know how long the ferry takes to cross the river
Ce a cântat Lady Gaga? | 法国总统是谁？ | フランスの大統領は誰ですか？
"""
EARLIER = "When does the bridge over the Tesse open?"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=600)


def listed(questions: str) -> list[str]:
    return [question.strip() for line in questions.strip().splitlines() for question in line.split(" | ")]


@pytest.mark.parametrize("question", listed(FOLLOW_UPS))
def test_a_follow_up_carries_the_earlier_words(question: str) -> None:
    assert searched_query(question, EARLIER) == f"{EARLIER} {question}"


@pytest.mark.parametrize("question", listed(ALONE))
def test_a_question_that_stands_alone_is_searched_alone(question: str) -> None:
    assert searched_query(question, EARLIER) == question


@given(question=TEXTS, earlier=TEXTS | st.none())
def test_only_literal_words_are_searched(question: str, earlier: str | None) -> None:
    searched = searched_query(question, earlier)
    assert searched in (question, f"{(earlier or '').strip()} {question.strip()}")
    if searched != question:
        assert is_follow_up(question)
        assert len(searched) <= MAX_CHARACTERS


@given(question=TEXTS, earlier=TEXTS)
def test_an_earlier_question_makes_no_empty_question_usable(question: str, earlier: str) -> None:
    if not any(character.isalnum() for character in question):
        assert searched_query(question, earlier) == question


@given(TEXTS)
def test_without_an_earlier_question_nothing_is_added(question: str) -> None:
    assert searched_query(question, None) == searched_query(question, "  ") == question


def test_the_same_question_again_is_not_doubled() -> None:
    assert searched_query("Why?", "Why?") == "Why?"


def test_the_new_words_are_never_cut_off() -> None:
    earlier = "where " * 80
    assert searched_query("and when?", earlier).endswith("where and when?")
    assert searched_query("and when exactly did that happen?", earlier) == "and when exactly did that happen?"


def test_the_words_of_the_rule_are_as_they_are_compared() -> None:
    for wording in WORDINGS.values():
        for word in wording.opening | wording.perhaps | wording.pointing | wording.usual:
            assert word == word.casefold().strip() != ""
        assert not wording.pointing & wording.usual
        assert wording.usual or not (wording.pointing or wording.perhaps)


def xquad_questions() -> list[str]:
    file = SHARED / "data" / "xquad-dev" / "questions.jsonl"
    if not file.exists():
        pytest.skip("../shared/data/xquad-dev is missing")
    rows = (json.loads(line)["question"] for line in file.read_text("utf-8").splitlines())
    return [question for row in rows for question in row.values()]


@pytest.mark.seeds
def test_questions_that_stand_alone_are_taken_for_follow_ups_in_less_than_one_of_a_hundred() -> None:
    questions = xquad_questions()
    taken = [question for question in questions if is_follow_up(question)]
    print(len(taken), "of", len(questions))
    assert len(taken) <= len(questions) / 100


# ---- through the service -------------------------------------------------------------------------------------


@pytest.fixture
def conversation(open_library: Callable[..., Library], e5: Encoder) -> Library:
    """On the embedded model: a bridge and a museum, both of which open at some time."""
    library = open_library(encoder=e5)
    texts = {
        "bridge.txt": "The bridge over the Tesse is closed. It opens again in the last week of August.",
        "museum.txt": "The museum of clocks in Orlenstein opens on 3 March. Entrance is free on Sundays.",
    }
    library.add([document_from_text(source, text) for source, text in texts.items()])
    return library


def first_source(library: Library, question: str, previous: str | None) -> str:
    told = answer_question(library, question, policy=AnswerPolicy(min_confidence=0.0), previous=previous)
    return told.citations[0].hit.document.source


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "null control"])
def test_a_follow_up_is_answered_from_what_was_spoken_of(
    conversation: Library, carried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not carried:
        monkeypatch.setattr(answer, "searched_query", lambda question, previous: question)
    found = {
        source: first_source(conversation, "and when does it open?", f"What is known of the {thing}?")
        for source, thing in (("bridge.txt", "bridge over the Tesse"), ("museum.txt", "museum of clocks"))
    }
    assert all(source == meant for meant, source in found.items()) == carried


@pytest.fixture
def client(library: Library) -> TestClient:
    return TestClient(build_app(AppState(library, AnswerPolicy(min_confidence=0.0))), base_url="http://localhost")


def asked(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/ask", json=body)
    assert response.status_code == 200, response.text
    body_back: dict[str, Any] = response.json()
    return body_back


def test_over_http_the_answer_says_what_was_searched(client: TestClient) -> None:
    assert asked(client, question="And the ferry?")["searched"] == "And the ferry?"
    told = asked(client, question="And the ferry?", previous="Who repairs the bridge?")
    assert told["question"] == "And the ferry?"
    assert told["searched"] == "Who repairs the bridge? And the ferry?"
    told = asked(client, question="When were hops flooded?", previous="Who repairs the bridge?")
    assert told["searched"] == "When were hops flooded?"


@pytest.mark.parametrize("previous", [7, ["x"], "x" * 4097])
def test_an_earlier_question_that_cannot_be_one_is_refused(client: TestClient, previous: object) -> None:
    response = client.post("/v1/ask", json={"question": "and why?", "previous": previous})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "request_invalid")


def test_half_characters_cannot_come_in_by_the_earlier_question(library: Library) -> None:
    with pytest.raises(Exception, match="not valid text"):
        answer_question(library, "and why?", previous="what\0ever")
    assert check_query(searched_query("and why?", "what")) == "what and why?"


def test_the_command_line_says_what_was_searched(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lent:
        def __enter__(self) -> Library:
            return library

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(cli, "_library", lambda *_, **__: Lent())
    run = CliRunner().invoke
    said = run(cli.app, ["ask", "And the ferry?", "--previous", "Who repairs the bridge?", "--data", "x"])
    assert said.exit_code == 0, said.output
    assert said.output.startswith("Searched for: Who repairs the bridge? And the ferry?\n")
    assert "Searched for" not in run(cli.app, ["ask", "And the ferry?", "--data", "x"]).output
