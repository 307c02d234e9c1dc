"""Follow-up questions: "and France?" is searched together with the words of the question before it.

Nothing is rewritten, guessed or resolved: what is searched are the literal words of the earlier query followed by the
new ones, or the new ones alone. So whoever asked can be shown exactly what was searched, and can undo it.

The rule, in this order. A question follows up if it is

1. very short: one or two words (in scripts without spaces: four letters),
2. opened by a connective ("and", "und", "what about"), or
3. of at most eight words, one of which points back ("it", "dort", "они") while another is of the same language, for
   "es" is a pronoun in German and a verb in Spanish.

Three was measured: of the 612 questions of XQuAD's development half, each of which stands alone, docs/http.md says
how many are taken for follow-ups. Words that point at something inside their own sentence as often as outside of it
("their", "who", the French "elle" of an inversion) are left out, and a longer question usually names what it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 500
"""Of both together; beyond it, only the question is searched. A model reads some 500 tokens of a query, and a token
has at least one character: the new words, which come last, are never cut off."""

SHORT_WORDS = 2
POINTING_WORDS = 8

_UNSPACED = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
"""Letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese, where words are not separated."""
_LETTER = rf"(?!{_UNSPACED})[^\W_]"
_MARK = r"[\u0300-\u036f\u0900-\u0dff]"
_WORD = re.compile(rf"{_UNSPACED}{{1,2}}|{_LETTER}(?:{_LETTER}|{_MARK})*(?:['’](?:{_LETTER})+)*")


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of one language that the rule knows, in lower case."""

    opening: frozenset[str] = frozenset()
    """Connectives, one to three words, that open a follow-up."""
    perhaps: frozenset[str] = frozenset()
    """The same, but they mean something else in another language: they count beside a ``usual`` word."""
    pointing: frozenset[str] = frozenset()
    """Words that point back; they count beside a ``usual`` word."""
    usual: frozenset[str] = frozenset()
    """Question words and others by which the language shows."""


def _words(listed: str) -> frozenset[str]:
    return frozenset(word.replace("_", " ").casefold() for word in listed.split())


WORDINGS: dict[str, Wording] = {
    "en": Wording(
        _words("and but or also then so what_about how_about what_if why_not"),
        pointing=_words("it they them he she him her this these those theirs hers"),
        usual=_words(
            "who whom whose what which when where why how is are was were be been do does did has have had can could "
            "will would should may must the of to for in on at by from with about not much many"
        ),
    ),
    "de": Wording(
        _words("und aber oder auch dann was_ist_mit wie_steht_es wie_sieht_es warum_nicht sondern"),
        pointing=_words(
            "er sie es ihn ihm ihnen dort dorthin dorther dies dieser diese dieses diesen diesem jener jene jenes "
            "dafür dagegen damit danach daran darauf daraus darin darüber darum davon davor dazu dahin dabei dadurch"
        ),
        usual=_words(
            "wer wen wem wessen was wann wo wohin woher warum wieso weshalb wie welche welcher welches welchen ist "
            "sind war waren wird werden wurde wurden hat haben hatte kann können soll der die das den dem des "
            "ein eine im am zum zur von mit für auf aus bei nach über gegen nicht viel viele lange hoch"
        ),
    ),
    "fr": Wording(
        _words("et mais aussi alors pourquoi_pas qu'en"),
        pointing=_words("cela ça ceci eux celui-ci celle-ci ceux-ci cet cette ces"),
        usual=_words(
            "quand qui que quoi quel quelle quels quelles où comment pourquoi combien est sont était ont avait"
        ),
    ),
    "es": Wording(
        _words("y pero también entonces qué_hay"),
        pointing=_words("él ella ellos ellas eso esto allí ahí ese esa esos esas este esta estos estas"),
        usual=_words("qué quién quiénes cuál cuáles cuándo cuánto cuánta cuántos cuántas dónde cómo porqué por"),
    ),
    "it": Wording(
        _words("e ma anche allora"),
        pointing=_words("lui esso essa essi esse ciò lì questo questa questi queste quello quella quelli"),
        usual=_words("chi che cosa quale quali quando quanto quanta quanti quante dove come perché è sono"),
    ),
    "pt": Wording(
        _words("e mas também então"),
        pointing=_words("ele ela eles elas isso isto lá dele dela deles delas nele nela esse essa este esta"),
        usual=_words("quem que qual quais quando quanto quanta quantos quantas onde como porque foi é são"),
    ),
    "nl": Wording(
        _words("maar ook"),
        _words("en of dan"),
        pointing=_words("hij zij ze hem haar hen daar deze dit daarvan daarvoor daarmee daarna ervan ervoor ermee"),
        usual=_words(
            "wie wat waar wanneer waarom hoe hoeveel welke welk zijn heeft hebben werd wordt van voor met het"
        ),
    ),
    "sv": Wording(
        _words("och också"),
        pointing=_words("han hon honom henne detta denna dessa dit därifrån"),
        usual=_words("vem vad var vart när varför hur vilken vilket vilka är har hade blev kan ska"),
    ),
    "da": Wording(
        _words("og også"),
        pointing=_words("han hun ham hende henne dette denne disse dertil derfra"),
        usual=_words(
            "hvem hvad hva hvor hvornår når hvorfor hvordan hvilken hvilket hvilke har havde blev ble kan skal"
        ),
    ),
    "pl": Wording(
        _words("oraz też także"),
        _words("a i ale"),
        pointing=_words("on ona oni go mu nim nią nich tam ten ta ci tego tej tych"),
        usual=_words(
            "kto kogo komu co czego kiedy gdzie dokąd dlaczego jak ile który która które jaki jaka jakie czy jest"
        ),
    ),
    "cs": Wording(
        _words("také"),
        _words("a i ale"),
        pointing=_words("on ona oni ho mu ním ní nich tam ten tato tento toho"),
        usual=_words(
            "kdo koho komu co čeho kdy kde kam proč jak kolik který která které jaký jaká jaké je jsou byl byla"
        ),
    ),
    "ru": Wording(
        _words("и а но или также тогда"),
        pointing=_words(
            "он она оно они его её ее ему ей им него неё нее них ним там туда этот эта эти этого этой этих"
        ),
        usual=_words(
            "кто кого кому что чего когда где куда почему зачем как сколько какой какая какое какие был была были"
        ),
    ),
    "uk": Wording(
        _words("і й та але або також тоді"),
        pointing=_words("він вона воно вони його її йому їй їм нього неї них там туди цей ця ці цього цієї цих"),
        usual=_words("хто кого кому що чого коли де куди чому навіщо як скільки який яка яке які був була були"),
    ),
    "tr": Wording(
        _words("ve peki ama ayrıca"),
        pointing=_words("o onu ona onun onlar onları bu bunu bunun bunlar orada oraya"),
        usual=_words("kim kimi kime ne neyi neden niçin nerede nereye nasıl kaç hangi mi mı mu mü"),
    ),
    "el": Wording(_words("και αλλά επίσης")),
    "ro": Wording(_words("și şi dar")),
    "vi": Wording(_words("và còn")),
    "hi": Wording(_words("और")),
    "zh": Wording(_words("那 那么 那麼 还有 還有")),
    "ja": Wording(_words("では じゃ それ あと")),
    "th": Wording(_words("แล้ว")),
}
"""By language. Where only connectives are listed, nobody has checked more."""

_EXPLETIVE = {"es": _words("gibt gab geben geht ging handelt kam kommt kommen"), "it": _words("true possible")}
"""Companions beside which a pronoun points at nothing: "gibt es", "is it true that"."""


def searched_query(question: str, previous: str | None) -> str:
    """Return what is to be searched for ``question``, asked after ``previous``.

    Args:
        question: the new question.
        previous: what was searched before in the same conversation, if anything was.
    """
    earlier, new = (previous or "").strip(), question.strip()
    together = f"{earlier} {new}"
    carried = earlier and earlier != new and len(together) <= MAX_CHARACTERS and is_follow_up(new)
    return together if carried else question


def is_follow_up(question: str) -> bool:
    """Return whether ``question`` looks as if it could not be understood alone; the module says by what rule."""
    text = question.casefold().replace("’", "'")
    words = _WORD.findall(text)
    return bool(words) and (len(words) <= SHORT_WORDS or _is_opened(text, words) or _points_back(words))


def _is_opened(text: str, words: list[str]) -> bool:
    opened = text[text.index(words[0]) :]
    if opened.startswith(_UNSPACED_OPENINGS):
        return True
    if opened[len(words[0]) :].startswith("."):  # an initial, as in "Y. pestis"
        return False
    beginnings = {" ".join(words[:length]) for length in (1, 2, 3)}
    return any(
        not wording.opening.isdisjoint(beginnings)
        or (words[0] in wording.perhaps and not wording.usual.isdisjoint(words[1:]))
        for wording in WORDINGS.values()
    )


def _points_back(words: list[str]) -> bool:
    if len(words) > POINTING_WORDS:
        return False
    for wording in WORDINGS.values():
        pointing = [word for word in words if word in wording.pointing]
        if not pointing or wording.usual.isdisjoint(words):
            continue
        if any(_EXPLETIVE.get(word, frozenset()).isdisjoint(words) for word in pointing):
            return True
    # "there" and "that" mostly stand for nothing, or open a clause; at the end they point back.
    return words[-1] in ("there", "that") and words[-2] not in ("is", "are", "was", "were")


_UNSPACED_OPENINGS = tuple(
    opening for wording in WORDINGS.values() for opening in wording.opening if re.match(_UNSPACED, opening)
)
