"""Make adversarial answers from the faithful ones by edits that change what they say.

    python -m tests.writer.make_adversarial        # writes tests/data/written/adversarial.jsonl and last.jsonl

Each edit is small, as a model's mistakes are: one number, one name, one "not", one mark. The result is kept as data,
so that a test judges the same answers everywhere.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence

from index.language import detect_language
from service.faithful import EvidenceText
from tests.writer.answers import FOLDER, Case, faithful, last

SEED = 20261122

_NUMBER = re.compile(r"(?<![\w.,])\d+(?:[.,\u00a0 ]\d{3})*(?:[.,]\d+)?(?![\w])")
_WORDS = {
    "four or five": "six or seven",
    "vier oder fünf": "sieben oder acht",
    "ten years": "twelve years",
    "five years": "seven years",
    "six months": "nine months",
    "dix ans": "douze ans",
    "eleven seasons": "nine seasons",
    "two months": "three months",
    "zwei Monatsmieten": "drei Monatsmieten",
    "two monthly": "four monthly",
    "Six": "Seven",
    "Sechs Zehntel": "Sieben Zehntel",
    "drei Tage": "vier Tage",
    "zwei Dritteln": "drei Vierteln",
    "a quarter": "a third",
    "a third": "a quarter",
    "ten working": "twenty working",
    "dix jours": "douze jours",
    "zwei Kunden": "fünf Kunden",
    "Only four": "Only six",
    "fünf Prozent": "sechs Prozent",
    "tres años": "cuatro años",
    "drei Jahre": "zwei Jahre",
    "eight hours": "nine hours",
    "deux classes": "trois classes",
    "million": "billion",
    "Millionen": "Milliarden",
    "millions": "milliards",
    "millones": "mil millones",
    "15 months": "five months",
    "Viertel nach zwei": "halb drei",
    "euros": "dollars",
    "Euro": "Dollar",
    "metres": "kilometres",
    "Meter": "Kilometer",
    "percent": "per mille",
    "October": "November",
    "Oktober": "Dezember",
    "octobre": "novembre",
    "June": "July",
    "Juni": "Juli",
    "juin": "mai",
    "July": "August",
    "Juli": "August",
    "julio": "junio",
    "August": "September",
    "août": "juillet",
    "November": "December",
    "noviembre": "octubre",
    "December": "January",
    "décembre": "janvier",
    "Dezember": "November",
    "January": "February",
    "janvier": "mars",
    "Januar": "Mai",
    "März": "April",
    "May": "June",
    "Mai": "März",
    "мая": "июня",
    "juli": "juni",
    "Tuesday": "Wednesday",
    "Thursday": "Friday",
    "Monday": "Sunday",
    "Freitag": "Mittwoch",
    "viernes": "martes",
    "Jeudi": "Lundi",
    "vendredi": "samedi",
    "Mondays": "Tuesdays",
    "lunes": "jueves",
    "Samstag": "Sonntag",
}
_NEGATIONS: list[tuple[str, str]] = [
    (r"\bdoes not (\w+)", r"does \1"),
    (r"\bdid not (\w+)", r"did \1"),
    (r"\bwill not be\b", "will be"),
    (r"\bwill not\b", "will"),
    (r"\bwas not\b", "was"),
    (r"\bare not\b", "are"),
    (r"\bis not\b", "is"),
    (r"\bhas not been\b", "has been"),
    (r"\bcannot\b", "can"),
    (r"\bNobody was\b", "Somebody was"),
    (r"\bNobody has\b", "Somebody has"),
    (r"\bno longer\b", "still"),
    (r"\bbe no\b", "be"),
    (r"\bare no\b", "are"),
    (r"\bnothing changes\b", "something changes"),
    (r"\bon any night\b", "on several nights"),
    (r"\bwithout notice\b", "with notice"),
    (r"\brefuses to\b", "agrees to"),
    (r"\bremains unchanged\b", "has changed"),
    (r"\bnicht mehr\b", "weiterhin"),
    (r"\bwird es keine\b", "wird es eine"),
    (r"\bkeiner\b", "einer"),
    (r"\bkeine\b", "eine"),
    (r" nicht\b", ""),
    (r"\bkostet nichts\b", "kostet etwas"),
    (r"\bn'y aura pas de\b", "y aura une"),
    (r"\bn'existe pas d'", "existe des "),
    (r"\bne sera pas\b", "sera"),
    (r"\bne sont pas\b", "sont"),
    (r"\bne peut pas\b", "peut"),
    (r"\bn'a pas été\b", "a été"),
    (r"\bn'a pas\b", "a"),
    (r"\bn'augmente pas\b", "augmente"),
    (r"\bne devrait pas y avoir de\b", "devrait y avoir des"),
    (r"\bPersonne n'a\b", "Quelqu'un a"),
    (r"\bNadie resultó\b", "Alguien resultó"),
    (r"\bNadie está\b", "Todo el mundo está"),
    (r"\bno se ha\b", "se ha"),
    (r"\bse niega sin embargo a\b", "acepta"),
    (r"\bверну не\b", "верну"),
    (r" не\b", ""),
]
_ADDED: list[tuple[str, str, str]] = [
    ("en", r"\b(will|is|are|was|were|has|have|can|must|should|may)\b", r"\1 not"),
    (
        "de",
        r"\b(wird|ist|sind|war|hat|kann|müssen|soll|sollen|dürfen|bremste|sank|behält|läuft|erlaubt)\b",
        r"\1 nicht",
    ),
    ("fr", r"\b(est|sont|sera|peut|prennent|dure|dit|mentionne) ", r"n'\1 pas "),
    ("fr", r"\b(a) ", r"n'\1 pas "),
    ("es", r"\b(fue|es|son|está|puede|dura|mantiene|propuso|visitan|cuesta|costarán)\b", r"no \1"),
]
_PEOPLE = (
    "Jost Kämmerling|Federica Mogherini|Gesine Faßbender|Henning Poß|Ulf Perschke|Barack Obama|Lothar Mießner|"
    "Almut Reißner|Balthasar Veith|Tilo Grauß|Emmanuel Macron|Dana Whitlock|Marta Cellini|Maëlle Kerguidu|"
    "Pavel Trnka|"
    "Ilse Mahnkopf|Andriy Yermak|Vladimir Putin|Vladimir Poutine|Федерика Могерини|Эммануэль Макрон|"
    "Le Drian|Trump|Hollande"
).split("|")
_STRANGERS = (
    "Angela Merkel|Werner Haase|Carla Bruni|Tomas Lindqvist|Boris Johnson|Ines Pohlmann|Joe Biden|Olga Smirnova|"
    "Pedro Alvarez|Greta Sandholm|Martin Schulz|Nadia Ferrand"
).split("|")
_PLACES = {
    "Germany": ("Italy", "Austria", "Poland"),
    "France": ("Spain", "Belgium", "Britain"),
    "Mali": ("Niger", "Sudan"),
    "Iraq": ("Iran", "Syria"),
    "Kurdish": ("Turkish",),
    "Deutschland": ("Italien", "Polen"),
    "Frankreich": ("Spanien", "Belgien"),
    "L'Allemagne": ("L'Italie", "L'Espagne"),
    "la France": ("la Belgique", "l'Italie"),
    "Alemania": ("Italia",),
    "Francia": ("España", "Portugal"),
    "Berlin": ("Vienna", "London"),
    "Lisbon": ("Rome", "Maastricht"),
    "Lissabon": ("Rom", "Nizza"),
    "Lisbonne": ("Rome",),
    "Brussels": ("Strasbourg",),
    "Paris": ("Madrid", "London"),
    "Moscow": ("Beijing",),
    "Moskau": ("Peking",),
    "Moscou": ("Pékin",),
    "Lebanon": ("Jordan",),
    "Syria": ("Iraq", "Libya"),
    "Siria": ("Libia",),
    "Niederlohe": ("Orlenstein", "Hollerfelde"),
    "Tesse": ("Elbe", "Lahn"),
    "Kyiv": ("Minsk",),
    "Kiev": ("Minsk",),
    "Киеву": ("Минску",),
    "Ukraine": ("Georgia", "Moldova"),
    "Kopenhagen": ("Stockholm",),
    "Copenhague": ("Oslo",),
    "India": ("China",),
    "Indien": ("China",),
    "Russia": ("China",),
    "Valmorin": ("Beaufort",),
    "Port-Élan": ("Saint-Malo",),
    "Villaluz": ("Torrelavega",),
    "Punta Orza": ("Punta Delgada",),
    "Nordwall": ("Hapag",),
    "Balthus Line": ("Nordwall",),
    "Emden": ("Kiel", "Bremen"),
    "Hohenlinde": ("Buchenau",),
    "Kronau": ("Lindau",),
    "Marlow Street": ("Baker Street",),
    "Vellbrook": ("Kenwood",),
    "Altmünde": ("Neustadt",),
    "Sorvik": ("Aletsch",),
    "Bergen": ("Oslo", "Tromsø"),
    "Torrebruna": ("Montefalco",),
    "Lohenbräu": ("Augustiner",),
    "Lerchenau": ("Bosch",),
    "Klara": ("Paula",),
    "Gerberbrücke": ("Marktbrücke",),
    "EU": ("UN", "NATO"),
    "UN": ("EU",),
    "St. Quirin": ("St. Anna",),
    "Schlossufer": ("Domplatz",),
    "Färbergasse": ("Marktgasse",),
    "Trump": ("Biden",),
    "American": ("British",),
    "amerikanische": ("britische",),
    "américaine": ("britannique",),
    "Danish": ("Swedish",),
    "danois": ("suédois",),
    "Zarechye": ("Podolsk",),
    "Bálthasar": ("Konrad",),
    "Minusma": ("Unifil",),
    "Sahel": ("Caucasus",),
}
_LAST_WORDS = {
    "elf Meter": "zwölf Meter",
    "neuf millions": "sept millions",
    "another nine million": "another nine thousand",
    "finales de junio": "finales de julio",
    "Three items": "Five items",
    "fourteen days": "forty days",
    "50 Cent": "50 Euro",
    "1 March": "1 May",
    "11 p.m.": "10 p.m.",
    "zwölf Flüge": "zwanzig Flüge",
    "zwei Erinnerungen": "drei Erinnerungen",
    "eight of the flights": "six of the flights",
    "more than ever before": "fewer than ever before",
    "März 2021": "Mai 2021",
    "Wednesday": "Tuesday",
    "zaterdag": "zondag",
    "Saturday": "Sunday",
    "halbe Stunde": "Viertelstunde",
    "older than 70": "older than 80",
    "4 September": "4 October",
    "сентября": "октября",
    "metres": "feet",
    "a quarter": "a third",
    "Zwei Drittel": "Drei Viertel",
    "trois jours": "treize jours",
    "Pfund": "Dollar",
    "12 January": "12 February",
    "Januar": "Juni",
    "nine kilos": "ninety kilos",
    "neun Kilo": "neun Tonnen",
}
_LAST_NEGATIONS: list[tuple[str, str]] = [
    (r"\bdo not (\w+)", r"\1"),
    (r"\bwould not\b", "would"),
    (r"\bkein (\w+) mehr\b", r"weiterhin \1"),
    (r"\bn'organiserait pas de\b", "organiserait un"),
    (r"\bNadie tuvo\b", "La gente tuvo"),
    (r"\bnunca salen\b", "salen"),
    (r"\bno habrá\b", "habrá"),
    (r"\bnon farà\b", "farà"),
    (r"\bsi no\b", "si"),
    (r", not the\b", " and the"),
    (r"\bwithout a\b", "with a"),
    (r"\bhas stopped\b", "goes on"),
]
_LAST_PEOPLE = "Veit Holzapfel|Nora Kling|Priya Raman|Tiziana Morandin|Samir Haddad|Claire Ormond|Jannis Rohde".split(
    "|"
)
_LAST_PLACES = {
    "Skarvik": ("Bodvik", "Hammerfest"),
    "Montrécourt": ("Beaulieu",),
    "Los Cardos": ("Los Pinos",),
    "Aerlux": ("Ryanair",),
    "Brackwede": ("Senne", "Gütersloh"),
    "Riga": ("Tallinn", "Vilnius"),
    "Turin": ("Milan",),
    "Gand": ("Anvers",),
    "Alder Bay": ("Cedar Bay", "Alder Creek"),
    "Keldon": ("Morven",),
    "Padua": ("Verona",),
    "Leeds": ("Bristol", "York"),
    "Klyazma": ("Volga",),
    "Клязьму": ("Волгу",),
    "Germany": ("Austria",),
    "Sweden": ("Norway",),
    "Ellerby": ("Whitby",),
    "Arcos": ("Toledo",),
    "Luma": ("Nora",),
    "Lüchow": ("Uelzen",),
}
"""What the last look has instead; apart, so that the answers made before stay the same."""
_FILLERS = {"en": "which experts welcomed as a great success", "de": "was Fachleute als großen Erfolg begrüßten"}

_DISTRACTORS = (
    EvidenceText("The bakery on Mill Lane sells rye bread on Saturdays and closes for two weeks every summer.", "en"),
    EvidenceText("Der Chor der Musikschule probt mittwochs im Gemeindehaus und sucht noch Tenöre.", "de"),
)


def make(cases: Sequence[Case], seed: int = SEED) -> list[Case]:
    """Return all adversarial answers, in a fixed order."""
    random_ = random.Random(seed)
    makers: list[tuple[str, Callable[[Case, random.Random], Iterator[Case]]]] = [
        ("number", _numbers),
        ("not", _dropped),
        ("name", _names),
        ("citation", _citations),
        ("ellipsis", _ellipses),
        ("across", _across),
        ("added_not", _added_not),
        ("misquoted", _misquoted),
        ("added_claim", _added_claims),
    ]
    found: list[Case] = []
    for kind, maker in makers:
        for case in cases:
            for at, made in enumerate(maker(case, random_)):
                found.append(
                    Case(
                        f"{kind}/{case.id}/{at}",
                        kind,
                        case.half,
                        case.question,
                        made.sentence,
                        made.cited,
                        made.evidence,
                    )
                )
    return found


def _changed(
    case: Case, sentence: str, cited: tuple[int, ...] | None = None, evidence: tuple[EvidenceText, ...] | None = None
) -> Case:
    return Case(
        case.id, case.kind, case.half, case.question, sentence, cited or case.cited, evidence or case.evidence
    )


def _numbers(case: Case, random_: random.Random) -> Iterator[Case]:
    matches = list(_NUMBER.finditer(case.sentence))
    if matches:
        match = random_.choice(matches)
        yield _changed(
            case,
            case.sentence[: match.start()] + _other_number(match.group(), random_) + case.sentence[match.end() :],
        )
    words = _LAST_WORDS if case.half == "last" else _WORDS
    known = [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", case.sentence)]
    if known:
        word = random_.choice(known)
        yield _changed(case, re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", words[word], case.sentence, count=1))


def _other_number(number: str, random_: random.Random) -> str:
    digits = [at for at, letter in enumerate(number) if letter.isdigit()]
    kind = random_.choice(("digit", "digit", "ten", "swap"))
    if kind == "ten" and number.isdigit() and len(number) < 4:
        return number + "0"
    if kind == "swap" and len(digits) > 1 and number[digits[-1]] != number[digits[-2]]:
        letters = list(number)
        letters[digits[-1]], letters[digits[-2]] = letters[digits[-2]], letters[digits[-1]]
        return "".join(letters)
    at = random_.choice(digits)
    other = random_.choice([digit for digit in "123456789" if digit != number[at]])
    return number[:at] + other + number[at + 1 :]


_DENIES = re.compile(
    r"\b(nicht|kein\w*|nichts|niemand|not|nobody|no|cannot|never|ne|n|no|nadie|non|не|nothing|only|nur|stop|refuse|unverändert|"
    r"fristlos|kostenlos|gratuite|faute)\b"
)


def _dropped(case: Case, random_: random.Random) -> Iterator[Case]:
    if not any(_DENIES.search(item.text) for item in case.evidence):
        return  # the answer says "not" in its own words; without it, nobody knows what it says
    for pattern, plain in [*_LAST_NEGATIONS, *_NEGATIONS] if case.half == "last" else _NEGATIONS:
        if re.search(pattern, case.sentence):
            yield _changed(case, re.sub(pattern, plain, case.sentence, count=1))
            return


def _added_not(case: Case, random_: random.Random) -> Iterator[Case]:
    if re.search(
        r"\b(not|no|nobody|nothing|nicht|kein\w*|nichts|ne|n'|pas|nadie|non|не|cannot|without)\b", case.sentence, re.I
    ):
        return
    language = detect_language(case.sentence)
    for code, pattern, negated in _ADDED:
        if code == language and re.search(pattern, case.sentence):
            yield _changed(case, re.sub(pattern, negated, case.sentence, count=1))
            return


def _names(case: Case, random_: random.Random) -> Iterator[Case]:
    people = [name for name in (_LAST_PEOPLE if case.half == "last" else _PEOPLE) if name in case.sentence]
    if people:
        name = random_.choice(people)
        yield _changed(case, case.sentence.replace(name, random_.choice(_STRANGERS)))
        surname = name.split()[-1]
        yield _changed(case, case.sentence.replace(surname, random_.choice(_STRANGERS).split()[-1]))
    swaps = _LAST_PLACES if case.half == "last" else _PLACES
    places = [name for name in swaps if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", case.sentence)]
    for name in random_.sample(places, min(2, len(places))):
        other = random_.choice(swaps[name])
        yield _changed(case, re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", other, case.sentence, count=1))


def _citations(case: Case, random_: random.Random) -> Iterator[Case]:
    way = random_.choice(("beyond", "nought", "none", "strange", "both"))
    last = len(case.evidence)
    if way == "beyond":
        yield _changed(case, case.sentence, (last + random_.randint(1, 5),))
    elif way == "nought":
        yield _changed(case, case.sentence, (0,))
    elif way == "none":
        yield Case(case.id, case.kind, case.half, case.question, case.sentence, (), case.evidence)
    elif way == "both":
        yield _changed(case, case.sentence, (*case.cited, last + 1))
    else:  # a number that exists but leads to something else
        yield _changed(case, case.sentence, (last + 1,), (*case.evidence, random_.choice(_DISTRACTORS)))


_NEGATOR = re.compile(
    r"\b(nicht|keine?n?|keiner|nichts|niemand|not|nobody|no|cannot|never|ne|pas|no se|nadie|non|не)\b"
)
_SAYS = {
    "de": ("In dem Text heißt es: „", "“."),
    "en": ('The text says: "', '".'),
    "fr": ("Le texte dit : « ", " »."),
    "es": ("El texto dice: «", "»."),
    "it": ("Il testo dice: «", "»."),
    "ru": ("В тексте сказано: «", "»."),
}

_ASKS = {
    "de": "Was steht dort?",
    "en": "What does it say?",
    "fr": "Que dit le texte ?",
    "es": "¿Qué dice el texto?",
    "it": "Che cosa dice il testo?",
    "ru": "Что там сказано?",
}


def _ellipses(case: Case, random_: random.Random) -> Iterator[Case]:
    """Quote around a negation, leaving it out; once for each negation of each evidence."""
    if not case.id.endswith("/0"):
        return
    for number, item in enumerate(case.evidence, 1):
        for match in _NEGATOR.finditer(item.text):
            before = item.text[: match.start()].split()[-random_.randint(2, 6) :]
            after = item.text[match.end() :].split()[: random_.randint(1, 5)]
            if len(before) < 2 or not after:
                continue
            dots = random_.choice((" … ", " ... ", " [...] ", " […] "))
            quote = " ".join(before).strip('„“"«»,.;') + dots + " ".join(after).strip('„“"«».,;')
            for language in dict.fromkeys((item.language, random_.choice(("en", "de")))):
                opening, closing = _SAYS[language]
                quote = re.sub('[„“"«»]', "", quote).strip()
                yield Case(
                    case.id,
                    case.kind,
                    case.half,
                    _ASKS[language],
                    opening + quote + closing,
                    (number,),
                    case.evidence,
                )


def _across(case: Case, random_: random.Random) -> Iterator[Case]:
    """Quote the end of one passage and the beginning of another as if they were one."""
    if not case.id.endswith(("/0", "/2")):
        return
    pool = last() if case.half == "last" else faithful()
    other = random_.choice([each for each in pool if each.evidence[0].text != case.evidence[0].text])
    first, second = case.evidence[0], other.evidence[0]
    end = first.text.rstrip(".").split()[-random_.randint(3, 6) :]
    begin = second.text.split()[: random_.randint(3, 6)]
    joint = random_.choice((" ", ". ", " … ", ", "))
    opening, closing = _SAYS[first.language]
    quote = re.sub('[„“"«»]', "", " ".join(end) + joint + " ".join(begin))
    cited = random_.choice(((1, 2), (1, 2), (1,), (2,)))
    sentence = opening + quote.strip(" .,;") + closing
    yield Case(case.id, case.kind, case.half, _ASKS[first.language], sentence, cited, (first, second))


def _misquoted(case: Case, random_: random.Random) -> Iterator[Case]:
    """Quote the evidence with one word changed."""
    if not case.id.endswith("/1"):
        return
    item = case.evidence[0]
    words = re.sub('[„“"«»]', "", item.text).split()[: random_.randint(6, 10)]
    at = random_.randrange(1, len(words) - 1)
    words[at] = random_.choice(("immer", "very", "quickly", "vielleicht", "grand"))
    opening, closing = _SAYS[item.language]
    sentence = opening + " ".join(words).strip(" .,;") + closing
    yield Case(case.id, case.kind, case.half, _ASKS[item.language], sentence, (1,), case.evidence)


def _added_claims(case: Case, random_: random.Random) -> Iterator[Case]:
    language = "de" if re.search(r"\b(der|die|das|wird|ist|und)\b", case.sentence) else "en"
    if case.id.endswith("/1") and re.search(r"\b(the|der|die|das)\b", case.sentence):
        yield _changed(case, case.sentence.rstrip(".") + ", " + _FILLERS[language] + ".")


def main() -> None:
    """Write the answers."""
    for cases, name in ((faithful(), "adversarial.jsonl"), (last(), "last.jsonl")):
        rows = [
            {
                "id": case.id,
                "kind": case.kind,
                "half": case.half,
                "question": case.question,
                "sentence": case.sentence,
                "cited": list(case.cited),
                "evidence": [[item.language, item.text] for item in case.evidence],
            }
            for case in make(cases)
        ]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (FOLDER / name).write_text("\n".join(lines) + "\n", "utf-8")
        print(f"{name}: {len(rows)} answers")


if __name__ == "__main__":
    main()
