"""Numbers, dates and amounts of a sentence, and whether its evidence has them, whatever the language.

Everything becomes an exact fraction with what it counts: "4,2 Millionen Euro" and "€4.2m" are both 4,200,000 EUR,
"six tenths" and "60 %" both a share of 3/5, "Viertel nach zwei" and "2:15" both a time. Words for one are left
alone: in most languages they are articles too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise

from service.lexicon import Language, WordList, divide, fold, load_lexicon

_TOKEN = re.compile(r"\d+(?:[.,:'’\u00a0\u202f ]\d+)*|[^\W\d_]+(?:-[^\W\d_]+)*|[%€$£¥₽°§]|[²³]")
_GROUPED = r"\d{1,3}(?:%s\d{3})+"
_ROMAN = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_CURRENCY_SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "₽": "RUB"}
_SHARES = frozenset({"percent"})
_MONEY = frozenset({"EUR", "USD", "GBP", "CHF", "DEM", "JPY", "RUB"})
_TIME_OF_DAY = 12


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number as it stands in a text."""

    value: Fraction
    unit: str
    """Name of a unit, "share", "times", "ordinal", or empty."""
    bound: str
    """"over" or "under", or empty."""
    way: str
    """"from" or "to", or empty: where something rose or fell from, and where to."""
    start: int
    end: int
    readings: tuple[Fraction, ...] = ()
    """Other values that the same digits have in another language's writing."""
    of: bool = False
    """Whether it is said to be a part of the next one: "14 of the 32"."""


@dataclass(frozen=True, slots=True)
class Date:
    """A day, month or year, as far as it is given; 0 stands for what is not."""

    year: int
    month: int
    day: int
    start: int
    end: int
    ambiguous: bool = False
    """Whether day and month may be the other way round."""


@dataclass(frozen=True, slots=True)
class Time:
    """A time of day."""

    hour: int
    minute: int
    start: int
    end: int
    half: str = ""
    """"am" or "pm" if said, else empty."""


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a text says in numbers."""

    quantities: tuple[Quantity, ...]
    dates: tuple[Date, ...]
    times: tuple[Time, ...]
    weekdays: frozenset[int]
    codes: frozenset[str]
    """Words of letters and digits such as G7, folded."""

    def covers(self, start: int, end: int) -> bool:
        """Say whether a range is part of one of them."""
        items: list[Quantity | Date | Time] = [*self.quantities, *self.dates, *self.times]
        return any(item.start < end and start < item.end for item in items)


# ---- number words ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _NumberWords:
    """The words of one language, each with its value."""

    small: Mapping[str, int]
    """Up to 999, compounds included."""
    scales: Mapping[str, int]
    """Thousand, million and so on."""
    hundreds: frozenset[str]
    dozens: Mapping[str, int]
    fractions: Mapping[str, int]
    multiples: Mapping[str, int]
    ordinals: tuple[tuple[WordList, int], ...]
    conjunctions: frozenset[str]
    articles: frozenset[str]


@cache
def _number_words(code: str) -> _NumberWords:
    table = load_lexicon().languages[code].numbers
    ones = [fold(word) for word in table["ones"].split()]
    tens = [fold(word) for word in table["tens"].split()]
    small = {word: value for value, word in enumerate(ones)}
    small |= {word: 10 * value for value, word in enumerate(tens, 2)}
    small |= _pairs(table.get("more", ""))
    hundreds = frozenset(fold(word) for word in table["hundred"].split())
    scales = {
        fold(word): value
        for name, value in (("thousand", 10**3), ("million", 10**6), ("milliard", 10**9), ("billion", 10**12))
        for word in table[name].split()
    }
    small |= _compounds(code, ones, tens)
    return _NumberWords(
        small=small,
        scales=scales,
        hundreds=hundreds,
        dozens=_pairs(table["dozens"]),
        fractions=_pairs(table["fractions"]),
        multiples=_pairs(table["multiples"]),
        ordinals=tuple((WordList([word]), value) for value, word in enumerate(table["ordinals"].split(), 1)),
        conjunctions=frozenset(fold(word) for word in table["and"].split()),
        articles=frozenset(fold(word) for word in table["articles"].split()),
    )


def _pairs(text: str) -> dict[str, int]:
    return {fold(word): int(value) for word, _, value in (pair.partition("=") for pair in text.split())}


def _compounds(  # noqa: PLR0912 - each language has its own way
    code: str, ones: Sequence[str], tens: Sequence[str]
) -> dict[str, int]:
    """Return number words that are written as one word, or with a hyphen, as each language makes them."""
    found: dict[str, int] = {}
    for ten_value, ten in enumerate(tens, 2):
        for value, one in enumerate(ones[1:10], 1):
            number = 10 * ten_value + value
            if code == "de":
                found[f"{one}und{ten}"] = number
            elif code == "nl":
                found[f"{one}en{ten}"] = found[f"{one}ën{ten}"] = number
                found[fold(f"{one}ën{ten}")] = number
            elif code == "it":
                stem = ten[:-1] if one in {"uno", "otto"} else ten
                found[f"{stem}{one}"] = found[fold(f"{stem}{one}")] = number
            elif code in {"en", "fr", "pt"}:
                found[f"{ten}-{one}"] = number
            elif code == "es" and ten_value == 2:
                found[f"veinti{one}"] = number
    if code == "fr":
        for base, start in (("soixante", 60), ("quatre-vingt", 80)):
            found |= {f"{base}-{one}": start + value for value, one in enumerate(ones[1:20], 1)}
        found |= {"quatre-vingts": 80, "quatre-vingt": 80}
        found |= {f"{ten}-et-un": 10 * value + 1 for value, ten in enumerate(tens, 2)}
        found |= {"soixante-et-onze": 71}
    if code == "es":
        found |= {
            "veintiun": 21,
            "doscientos": 200,
            "doscientas": 200,
            "trescientos": 300,
            "trescientas": 300,
            "cuatrocientos": 400,
            "quinientos": 500,
            "seiscientos": 600,
            "setecientos": 700,
            "ochocientos": 800,
            "novecientos": 900,
        }
    if code == "pt":
        found |= {
            "duzentos": 200,
            "duzentas": 200,
            "trezentos": 300,
            "quatrocentos": 400,
            "quinhentos": 500,
            "seiscentos": 600,
            "setecentos": 700,
            "oitocentos": 800,
            "novecentos": 900,
        }
    if code in {"de", "nl", "it"}:
        hundred, thousand = {"de": ("hundert", "tausend"), "nl": ("honderd", "duizend"), "it": ("cento", "mila")}[
            code
        ]
        units = {word: value for value, word in enumerate(ones) if value} | {
            word: 10 * value for value, word in enumerate(tens, 2)
        }
        below = units | {word: value for word, value in found.items() if value < 100}
        many = {f"{one}{hundred}": 100 * value for value, one in enumerate(ones[1:10], 1)} | {hundred: 100}
        for word, value in many.items():
            found[word] = value
            found |= {f"{word}{rest}": value + small for rest, small in below.items()}
        thousands = {f"{word}{thousand}": 1000 * value for word, value in (below | many).items()}
        found |= thousands
        found |= {
            f"{word}{rest}": value + small
            for word, value in thousands.items()
            if value < 10_000
            for rest, small in (below | many).items()
        }
    return found


# ---- reading -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    key: str
    start: int
    end: int


def read_figures(text: str, language: Language, others: Sequence[Language] = ()) -> Figures:
    """Return all numbers, dates, times and weekdays of ``text``.

    Args:
        text: a sentence or a few.
        language: decides what "1.000" and "billion" mean.
        others: languages the text might be written in instead; their readings of digits count as well.
    """
    return _Reader(text, language, others).read()


class _Reader:
    def __init__(self, text: str, language: Language, others: Sequence[Language]) -> None:
        self.text = divide(text)
        self.language = language
        self.others = others
        self.words = _number_words(language.code)
        self.tokens = [
            _Token(match.group(), fold(match.group()), match.start(), match.end())
            for match in _TOKEN.finditer(_apart(self.text))
        ]
        self.codes = list(_CODE.finditer(self.text))
        self.quantities: list[Quantity] = []
        self.dates: list[Date] = []
        self.times: list[Time] = []
        self.taken: set[int] = set()
        """Tokens that are part of a unit of two words, such as "pour cent"."""

    def read(self) -> Figures:
        weekdays = frozenset(
            number
            for token in self.tokens
            for words, number in self.language.weekdays
            if token.key in words and (token.text[0].isupper() or self.language.code not in {"en", "de"})
        )
        codes = frozenset(fold(code.group()) for code in self.codes)
        at = 0
        while at < len(self.tokens):
            if at in self.taken:
                at += 1
                continue
            at = self._code(at) or self._date(at) or self._time(at) or self._quantity(at) or at + 1
        return Figures(tuple(self.quantities), tuple(self.dates), tuple(self.times), weekdays, codes)

    def _key(self, at: int) -> str:
        return self.tokens[at].key if 0 <= at < len(self.tokens) else ""

    def _code(self, at: int) -> int | None:
        """Step over words of letters and digits: they are compared as they stand."""
        token = self.tokens[at]
        for match in self.codes:
            if match.start() <= token.start < match.end():
                following = at + 1
                while following < len(self.tokens) and self.tokens[following].start < match.end():
                    following += 1
                return following
        return None

    # -- dates

    def _month(self, at: int) -> int:
        if not 0 <= at < len(self.tokens):
            return 0
        token = self.tokens[at]
        if token.key in self.words.small or (self.language.code in {"en", "de"} and not token.text[0].isupper()):
            return 0  # French "sept" is seven
        return next((number for words, number in self.language.months if token.key in words), 0)

    def _day(self, at: int) -> int:
        """Return the day of a month that stands at ``at``, in digits or as an ordinal; 0 if none does."""
        if not 0 <= at < len(self.tokens):
            return 0
        token = self.tokens[at]
        if re.fullmatch(r"\d{1,2}", token.text) and 1 <= int(token.text) <= 31:
            return int(token.text)
        return next((value for words, value in self.words.ordinals if token.key in words), 0)

    def _year(self, at: int) -> int:
        if not 0 <= at < len(self.tokens):
            return 0
        token = self.tokens[at]
        return int(token.text) if re.fullmatch(r"1\d{3}|20\d{2}", token.text) else 0

    def _date(self, at: int) -> int | None:
        token = self.tokens[at]
        numeric = _NUMERIC_DATE.match(self.text, token.start)
        if numeric and (at == 0 or self.tokens[at - 1].end <= token.start):
            made = _numeric_date(numeric, self.language)
            if made:
                self.dates.append(made)
                following = at
                while following < len(self.tokens) and self.tokens[following].start < numeric.end():
                    following += 1
                return following
        skip = {"th", "st", "nd", "rd", "of", "de", "del", "do", "er", "the", "den", "der", "dem", "am", "n"}
        if self._day(at) and not self._month(at):
            following = at + 1
            while self._key(following) in skip:
                following += 1
            month = self._month(following)
            if month:
                return self._add_date(self._day(at), month, at, following + 1)
        month = self._month(at)
        if month:
            following = at + 1
            while self._key(following) in skip:
                following += 1
            day = self._day(following)
            if day and not self._year(following):
                after = following + 1
                while self._key(after) in {"th", "st", "nd", "rd"}:
                    after += 1
                return self._add_date(day, month, at, after)
            return self._add_date(0, month, at, at + 1)
        return None

    def _add_date(self, day: int, month: int, first: int, following: int) -> int:
        year_at = following
        while self._key(year_at) in {"de", "del", "of", "do", "г", "года"}:
            year_at += 1
        year = self._year(year_at)
        end = year_at + 1 if year else following
        self.dates.append(Date(year, month, day, self.tokens[first].start, self.tokens[end - 1].end))
        return end

    # -- times

    def _time(self, at: int) -> int | None:
        table = self.language.numbers
        token = self.tokens[at]
        clock = re.fullmatch(r"(\d{1,2})[:.](\d{2})", token.text)
        oclock = [fold(word) for word in table["oclock"].split()]
        following = self._key(at + 1)
        hour = _small(token, self.words)
        clock_word = following == "o" and self._key(at + 2) == "clock"
        said = (
            clock_word
            or (following in oclock and self.language.code not in {"es", "it", "pt", "fr", "ru"})
            or following in {"am", "pm"}
            or (following == "h" and self.language.code == "fr")
            or (following in {"a", "p"} and self._key(at + 2) == "m")
        )
        if clock and int(clock[1]) < 25 and int(clock[2]) < 60 and (said or ":" in token.text):
            return self._add_time(int(clock[1]), int(clock[2]), at, at + 1)
        if hour is not None and hour <= 24 and said:
            minute = 0
            after = at + 2
            if following in oclock and re.fullmatch(r"[0-5]\d", self._key(after) or ""):
                minute, after = int(self._key(after)), after + 1
            ends = at + 3 if clock_word else after if following in oclock else at + 1
            return self._add_time(hour, minute, at, ends)
        return self._spoken_time(at)

    def _spoken_time(self, at: int) -> int | None:
        """Read "a quarter past two", "half past two", "halb drei"."""
        table = self.language.numbers
        key, following = self._key(at), self._key(at + 1)
        past, before = fold(table["clock_past"]), fold(table["clock_to"])
        hour_at = at + 2
        hour = _small(self.tokens[hour_at], self.words) if hour_at < len(self.tokens) else None
        code = self.language.code
        if code in {"en", "de", "nl"} and key == fold(table["quarter"]) and hour is not None and hour <= 12:
            if following == past:
                return self._add_time(hour, 15, at, hour_at + 1)
            if following == before:
                return self._add_time((hour - 1) % 24, 45, at, hour_at + 1)
        if code == "en" and key == "half" and following == "past" and hour is not None and hour <= 12:
            return self._add_time(hour, 30, at, hour_at + 1)
        if (code in {"de", "nl"} and key == "halb") or (code == "nl" and key == "half"):
            hour = _small(self.tokens[at + 1], self.words) if at + 1 < len(self.tokens) else None
            if hour is not None and 1 <= hour <= 12:
                return self._add_time(hour - 1, 30, at, at + 2)
        return None

    def _add_time(self, hour: int, minute: int, first: int, following: int) -> int:
        table = self.language.numbers
        near = [self._key(each) for each in range(max(0, first - 7), min(len(self.tokens), following + 5))]
        half = ""
        if any(fold(word) in near for word in table["evening"].split()) or "pm" in near:
            half = "pm"
        elif any(fold(word) in near for word in table["morning"].split()) or "am" in near[8:]:
            half = "am"
        if self._key(following) in {"p", "a"} and self._key(following + 1) == "m":
            half = self._key(following) + "m"
            following += 2
        elif self._key(following) in {"am", "pm"} and self.language.code == "en":
            half = self._key(following)
            following += 1
        self.times.append(Time(hour, minute, self.tokens[first].start, self.tokens[following - 1].end, half))
        return following

    # -- amounts

    def _quantity(self, at: int) -> int | None:
        token = self.tokens[at]
        if token.text[0].isdigit():
            return self._digits(at)
        roman = _roman(token.text)
        if roman:
            self._add(Fraction(roman), "ordinal", at, at + 1)
            return at + 1
        return self._spoken(at)

    def _digits(self, at: int) -> int:
        token = self.tokens[at]
        values = _values(token.text, self.language.comma)
        if values is None:  # several numbers with nothing but a separator between: read each
            for match in re.finditer(r"\d+", token.text):
                start = token.start + match.start()
                self.quantities.append(
                    Quantity(Fraction(int(match.group())), "", "", "", start, start + len(match.group()))
                )
            return at + 1
        readings = list(values)
        for other in self.others:
            readings += _values(token.text, other.comma) or []
        following = at + 1
        factor, following = self._scale(following)
        after = self.text[token.end : token.end + 2]
        if self._key(following) in {"th", "st", "nd", "rd"} and following == at + 1 and not after.startswith(" "):
            self._add(values[0], "ordinal", at, following + 1)
            return following + 1
        out_of = self._out_of(following)
        if out_of:
            whole, end = out_of
            self._add(values[0] * factor / whole, "share", at, end)
            self._add(values[0] * factor, "", at, following)
            self._add(whole, "", end - 1, end)
            return end
        if after.startswith("/") and following < len(self.tokens) and self.tokens[following].text.isdigit():
            self._add(values[0], "", at, at + 1)  # a number such as 27/4 is two numbers side by side
            return at + 1
        self._add(values[0] * factor, "", at, following, tuple(value * factor for value in readings))
        return following

    def _scale(self, at: int) -> tuple[int, int]:
        factor = 1
        while self._key(at) in self.words.scales:
            key = self._key(at)
            if len(key) == 1 and at and self.text[self.tokens[at - 1].end : self.tokens[at].start]:
                break  # "5 m" is five metres, "5m" five million
            factor *= self.words.scales[key]
            at += 1
        return factor, at

    def _out_of(self, at: int) -> tuple[Fraction, int] | None:
        """Read the second half of "six in ten"."""
        if self._key(at) not in {"in", "von", "sur", "de", "su", "em", "op", "из", "out"}:
            return None
        second = at + 1
        if self._key(at) == "out" and self._key(second) == "of":
            second += 1
        whole = _small(self.tokens[second], self.words) if second < len(self.tokens) else None
        return (Fraction(whole), second + 1) if whole in {5, 10, 100} else None

    def _spoken(self, at: int) -> int | None:  # noqa: PLR0911 - one way of saying it after the other
        words = self.words
        key = self._key(at)
        if key in words.multiples:
            self._add(Fraction(words.multiples[key]), "times", at, at + 1)
            return at + 1
        if key in words.dozens:
            self._add(Fraction(words.dozens[key]), "", at, at + 1)
            return at + 1
        found = self._number(at)
        if found:
            value, following = found
            if self._key(following) in {"times", "mal", "fois", "veces", "volte", "vezes", "keer"}:
                self._add(Fraction(value), "times", at, following + 1)
                return following + 1
            if self._key(following) in words.dozens and value < 100:
                self._add(Fraction(value * words.dozens[self._key(following)]), "", at, following + 1)
                return following + 1
            part = words.fractions.get(self._key(following))
            if part and part > 1 and value < part:
                self._add(Fraction(value, part), "share", at, following + 1)
                return following + 1
            out_of = self._out_of(following)
            if out_of:
                whole, end = out_of
                self._add(Fraction(value) / whole, "share", at, end)
                self._add(Fraction(value), "", at, following)
                self._add(whole, "", end - 1, end)
                return end
            if value == 1 and following == at + 1:
                return following
            self._add(Fraction(value), "", at, following)
            return following
        usual = key in self.language.stop  # Italian "non" is not "nono"
        ordinal = 0 if usual else next((value for entries, value in words.ordinals if key in entries), 0)
        if key in words.fractions and not (ordinal and self._key(at - 1) not in _ONE_OF):
            self._add(Fraction(1, words.fractions[key]), "share", at, at + 1)
            return at + 1
        if ordinal > 1 and not (self.language.code in {"es", "it", "pt"} and ordinal == 2 and key.startswith("segu")):
            self._add(Fraction(ordinal), "ordinal", at, at + 1)
            return at + 1
        return None

    def _number(self, at: int) -> tuple[int, int] | None:
        """Read the longest number in words that begins at ``at``; returns value and where it ends."""
        words = self.words
        total = current = 0
        position, seen, last = at, False, 10**15
        while position < len(self.tokens):
            if position > at and self._is_apart(position):
                break
            key = self._key(position)
            if key in words.articles and self._key(position + 1) in {*words.hundreds, *words.scales} and not seen:
                current, seen, position = 1, True, position + 1
                continue
            if key in words.small and (not seen or words.small[key] < last):
                value = words.small[key]
                if seen and value == 0:
                    break
                current += value
                last = 1000 if value % 1000 == 0 else 100 if value % 100 == 0 else 10 if value % 10 == 0 else 1
                last = 1 if value < 20 else last  # nothing can follow "ten"
                seen, position = True, position + 1
            elif key in words.hundreds and (not seen or current):
                current, last = max(current, 1) * 100, 100
                seen, position = True, position + 1
            elif key in words.scales and len(key) > 1:
                if not seen and not _means_one(key, self.language.code):
                    return None
                total += max(current, 1) * words.scales[key]
                current, last, seen, position = 0, 1000, True, position + 1
            elif seen and key in words.conjunctions and self._continues(position + 1, last):
                position += 1
            else:
                break
        return (total + current, position) if seen else None

    def _continues(self, at: int, last: int) -> bool:
        following = self.words.small.get(self._key(at))
        joined = last >= 100 or self.language.code in {"es", "pt", "fr"}
        return following is not None and 0 < following < last and joined

    def _is_apart(self, at: int) -> bool:
        return bool(self.text[self.tokens[at - 1].end : self.tokens[at].start].strip())

    def _add(
        self, value: Fraction, unit: str, first: int, following: int, readings: tuple[Fraction, ...] = ()
    ) -> None:
        start, end = self.tokens[first].start, self.tokens[following - 1].end
        if not unit:
            unit = self._unit(first, following)
        if unit in _SHARES:
            value, unit = value / 100, "share"
            readings = tuple(reading / 100 for reading in readings)
        others = tuple(dict.fromkeys(each for each in readings if each != value))
        self.quantities.append(
            Quantity(
                value,
                unit,
                self._bound(first, following),
                self._way(first),
                start,
                end,
                others,
                self._is_part(following),
            )
        )

    def _unit(self, first: int, following: int) -> str:  # noqa: PLR0911 - one place after the other
        """Return the unit that follows a number, or a currency sign before it."""
        if first and self.tokens[first - 1].text in _CURRENCY_SIGNS:
            return _CURRENCY_SIGNS[self.tokens[first - 1].text]
        if first and self.tokens[first - 1].text in {"EUR", "USD", "GBP", "CHF"}:
            return self.tokens[first - 1].text
        at = following
        if self._key(at) in {"de", "d", "di"}:
            at += 1
        keys = [self._key(each) for each in range(at, at + 2)]
        joined = self.text[self.tokens[at - 1].end : self.tokens[at].start] if at < len(self.tokens) else ""
        if (
            not keys[0]
            or "." in joined
            or "," in joined
            or keys[0][0].isdigit()
            or is_number(keys[0], self.language.code)
        ):
            return ""  # what follows belongs to the next number
        if keys[0] in {"m", "km"} and keys[1] in {"²", "2"}:
            return "m2" if keys[0] == "m" else "km2"
        for phrase in (keys, keys[:1], keys[1:]):
            if len(phrase) == 1 and phrase[0] in self.language.stop:
                continue  # "an" is a year in French only
            for name, words in load_lexicon().units:
                if len(phrase) == 2 and any(len(found) == 2 for found in words.places(phrase)):
                    self.taken |= {at, at + 1}
                    return name
                if len(phrase) == 1 and phrase[0] in words:
                    return name
        if self.tokens[at].text in _CURRENCY_SIGNS:
            return _CURRENCY_SIGNS[self.tokens[at].text]
        return ""

    def _is_part(self, following: int) -> bool:
        if self._key(following) not in {"of", "von", "der", "sur", "de", "di", "van", "из"}:
            return False
        return any(token.text[0].isdigit() for token in self.tokens[following + 1 : following + 3])

    def _way(self, first: int) -> str:
        before = self._key(first - 1)
        froms, tos = _WAYS.get(self.language.code, ("", ""))
        return "from" if before in froms.split() else "to" if before in tos.split() else ""

    def _bound(self, first: int, following: int) -> str:
        before = [self._key(each) for each in range(max(0, first - 4), first)]
        for name, words in (("under", self.language.under), ("over", self.language.over)):
            for found in words.places(before):
                far = len(before) - found.stop
                plain = len(before[found.start]) >= _PLAIN and len(found) == 1
                if far <= (2 if plain else 1 if before[-1] in _LOOSE else 0):
                    return name
        return ""


_ONE_OF = frozenset("a one un une una uno um uma een".split())
"""What stands before "third" if it is a share, not a place."""
_PLAIN = 6
"""A word so long, such as "mindestens", is no preposition, and may stand apart from its number."""
_WAYS = {
    "en": ("from", "to"),
    "de": ("von", "auf"),
    "fr": ("de", "à"),
    "es": ("de", "a"),
    "it": ("da", "a"),
    "pt": ("de", "para"),
    "nl": ("van", "naar"),
    "ru": ("с", "до"),
}
_WAYS = {code: (froms, fold(tos)) for code, (froms, tos) in _WAYS.items()}
_LOOSE = frozenset(
    (
        "ein eine einem einen einer un una une um uma een the a an der die das den dem le la les el los il lo de d "
        "etwa rund about"
    ).split()
)
_CODE = re.compile(r"\b(?:[A-Z]{1,4}-?\d{1,4}[A-Za-z]?|\d{1,4}[A-Z]{1,3})\b(?!\w)")
_NUMERIC_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)|(\d{1,2})([./])\s?(\d{1,2})\5\s?(\d{4}|\d{2})(?!\d)")


def _apart(text: str) -> str:
    """Put what belongs to one number only together: a blank stays in "20 000" but not in "5 October 2020 and 3"."""
    return re.sub(r"(?<=\d)[ \u00a0\u202f](?!\d{3}(?!\d))", "\n", text)


def _means_one(key: str, code: str) -> bool:
    """Say whether a scale alone means one of it: "tausend", "mille", "mil", but not "Millionen"."""
    return key in {"thousand", "tausend", "mille", "mil", "duizend", "hundred", "тысяча"} and code != "en"


def _small(token: _Token, words: _NumberWords) -> int | None:
    if re.fullmatch(r"\d{1,3}", token.text):
        return int(token.text)
    return words.small.get(token.key)


def _roman(text: str) -> int:
    if len(text) < 2 or not _ROMAN.fullmatch(text) or text in {"MI", "CD", "DC", "MM", "CV", "LI", "DI", "CC"}:
        return 0
    values = [_ROMAN_DIGITS[letter] for letter in text]
    return sum(
        -value if value < following else value for value, following in zip(values, [*values[1:], 0], strict=True)
    )


def _values(digits: str, comma: bool) -> list[Fraction] | None:
    """Return what a run of digits and separators means in a language, best first; ``None`` if it is no one number."""
    plain = re.sub(r"[\u00a0\u202f '’]", " ", digits)
    if plain.isdigit():
        return [Fraction(int(plain))]
    group, point = (".", ",") if comma else (",", ".")
    whole = _GROUPED % f"[ {re.escape(group)}]"
    match = re.fullmatch(rf"({whole}|\d+)(?:{re.escape(point)}(\d+))?", plain)
    if match and (" " not in match[1] or "." not in match[1]):
        integer = int(re.sub(r"\D", "", match[1]))
        decimals = match[2] or ""
        return [Fraction(integer) + (Fraction(int(decimals), 10 ** len(decimals)) if decimals else 0)]
    other = re.fullmatch(rf"(\d+){re.escape(group)}(\d{{1,2}}|\d{{4,}})", plain)  # the other language's point
    if other:
        return [Fraction(int(other[1])) + Fraction(int(other[2]), 10 ** len(other[2]))]
    foreign = re.fullmatch(_GROUPED % re.escape(point) + rf"(?:{re.escape(group)}(\d+))?", plain)
    if foreign and (foreign[1] or plain.count(point) > 1):
        integer = int(re.sub(r"\D", "", plain.partition(group)[0]))
        return [Fraction(integer)]
    return None


def _numeric_date(match: re.Match[str], language: Language) -> Date | None:
    if match[1]:
        year, month, day, ambiguous = int(match[1]), int(match[2]), int(match[3]), False
    else:
        first, second, year = int(match[4]), int(match[6]), int(match[7])
        year += 2000 if year < 50 else 1900 if year < 100 else 0
        american = match[5] == "/" and language.code == "en"
        ambiguous = american and first <= 12 and second <= 12 and first != second
        day, month = (second, first) if american and first <= 12 else (first, second)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return Date(year, month, day, match.start(), match.end(), ambiguous)


# ---- comparing ---------------------------------------------------------------------------------------------------


def missing_figures(said: Figures, evidence: Sequence[Figures]) -> Iterator[str]:
    """Yield a word for each number, date or time of a sentence that its evidence does not have.

    Args:
        said: of the sentence.
        evidence: of each text that it cites.
    """
    known = [quantity for figures in evidence for quantity in figures.quantities]
    dates = [date for figures in evidence for date in figures.dates]
    times = [time for figures in evidence for time in figures.times]
    days = {date.day for date in dates} | {date.year for date in dates}
    for quantity in said.quantities:
        if _is_hour_of(quantity, times):
            continue
        if not any(_supports(other, quantity) for other in known) and not (
            not quantity.unit and quantity.value.denominator == 1 and int(quantity.value) in days - {0}
        ):
            yield "number"
    if _is_impossible(said.quantities) or _turns_round(said.quantities, known):
        yield "number"
    for date in said.dates:
        if not any(_same_date(date, other) for other in dates) and not (
            date.year and not date.month and any(other.value == date.year for other in known)
        ):
            yield "date"
    for time in said.times:
        if not any(_same_time(time, other) for other in times) and not _hours(time, known):
            yield "number"
    if said.weekdays - {day for figures in evidence for day in figures.weekdays}:
        yield "date"
    if said.codes - {code for figures in evidence for code in figures.codes}:
        yield "number"


def _is_impossible(said: Sequence[Quantity]) -> bool:
    """Say whether a part is larger than its whole: "32 of the 14"."""
    return any(
        one.of and one.value > other.value and one.unit == other.unit and one.value.denominator == 1
        for one, other in pairwise(said)
    )


def _turns_round(said: Sequence[Quantity], known: Sequence[Quantity]) -> bool:
    """Say whether something goes from where, in the evidence, it goes to."""
    ways = {(each.value, each.way) for each in known if each.way}
    turned = {"from": "to", "to": "from"}
    return any(
        each.way and (each.value, turned[each.way]) in ways and (each.value, each.way) not in ways for each in said
    )


def _is_hour_of(quantity: Quantity, times: Sequence[Time]) -> bool:
    """Say whether an amount of hours is a time of day: French and Spanish call both the same."""
    if quantity.unit not in {"hour", ""} or quantity.value.denominator != 1:
        return False
    return any(not time.minute and int(quantity.value) in {time.hour, *_clock_hours(time)} for time in times)


def _supports(known: Quantity, said: Quantity) -> bool:
    values = {known.value, *known.readings} & {said.value, *said.readings}
    if not values:
        return False
    if said.unit != known.unit and not _same_kind(known.unit, said.unit):
        return False
    return not ({known.bound, said.bound} == {"over", "under"} or (said.bound and not known.bound))


def _same_kind(known: str, said: str) -> bool:
    if {known, said} <= {"", "ordinal"}:
        return True
    if not said:  # the unit may be left out, but a share is no count
        return known not in {"share", "times"}
    return False


def _same_date(said: Date, known: Date) -> bool:
    if said.ambiguous:
        return False
    return all(
        not mine or mine == theirs
        for mine, theirs in ((said.year, known.year), (said.month, known.month), (said.day, known.day))
    )


def _same_time(said: Time, known: Time) -> bool:
    if said.minute != known.minute:
        return False
    return bool(_clock_hours(said) & _clock_hours(known))


def _clock_hours(time: Time) -> set[int]:
    hour = time.hour % 24
    if hour > _TIME_OF_DAY or not time.half:
        return {hour}
    return {hour % 12 + 12} if time.half == "pm" else {hour % 12}


def _hours(time: Time, known: Sequence[Quantity]) -> bool:
    return not time.minute and any(each.value in _clock_hours(time) and each.unit in {"hour", ""} for each in known)


def is_number(key: str, code: str) -> bool:
    """Say whether a folded word is a number word or a scale such as "million"."""
    words = _number_words(code)
    return key in words.small or key in words.scales or key in words.hundreds or key in words.dozens
