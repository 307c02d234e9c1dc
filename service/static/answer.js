// What came of a question, drawn: the answer with its numbered citations, or that the documents do not say.

import { button, element } from './dom.js';
import {
  locationFacts,
  originFacts,
  renderFacts,
  renderTitle,
  scoreFact,
  sourceFact,
  titleOf,
} from './facts.js';
import { languageName, percent, say, sayWith, words } from './language.js';
import { placeOfCitation, placeOfPassage } from './places.js';
import { openSource } from './source.js';
import { markedText } from './spans.js';

/**
 * @typedef {import('./records.js').Answer} Answer
 * @typedef {import('./records.js').Citation} Citation
 * @typedef {import('./records.js').Passage} Passage
 * @typedef {import('./records.js').Place} Place
 * @typedef {import('./records.js').Written} Written
 */

/** Lower bounds of the confidence words; the last word has none. */
const CONFIDENCE_STEPS = [0.9, 0.7, 0.5];
/** Below the first, "not in the documents" is said without "probably"; from the second on, not at all. */
const CERTAINLY_NOT = 0.2;
const RATHER_YES = 0.5;

/** @param {Answer} answer @param {string} turn identifies it among the page's turns @returns {HTMLElement[]} */
export function renderAnswer(answer, turn) {
  return answer.answerable ? renderEvidence(answer, turn) : renderRefusal(answer, turn);
}

/** In words, for those who hear the page. @param {Answer} answer @returns {(Node | string)[]} */
export function spokenAnswer(answer) {
  if (!answer.answerable) return [verdict(answer), ' ', sureness(1 - answer.confidence)];
  const count = say(words().answered, { n: answer.citations.length });
  const written = sentencesOf(answer).map(({ text }) => ` ${text}`);
  const quotes = answer.citations.map(({ language, number, quote }) =>
    element('span', { lang: language }, ` ${number}: ${quote}`),
  );
  return [count, ' ', sureness(answer.confidence), ...(written.length > 0 ? written : quotes)];
}

// ------------------------------------------------------------------------------------- The answer

/** @param {Answer} answer @param {string} turn @returns {HTMLElement[]} */
function renderEvidence(answer, turn) {
  const places = answer.citations.map((citation) => placeOfCitation(citation, turn));
  const cards = answer.citations.map((citation, i) => renderCitation(citation, places[i]));
  const isWritten = sentencesOf(answer).length > 0;
  const list = element('ol', { class: 'places', role: 'list', 'aria-label': words().citations }, ...cards);
  const lead = element(
    'div',
    { class: isWritten ? 'lead sheet' : 'lead' },
    renderConfidence(answer.confidence, say(words().likely, { p: percent(answer.confidence) })),
    ...(isWritten ? renderWritten(answer, places) : renderVerbatim(answer)),
  );
  return isWritten ? [lead, element('h3', { class: 'below' }, words().evidence), list] : [lead, list];
}

/** @param {Answer} answer */
function sentencesOf({ answer_kind: kind, written }) {
  return kind === 'written' ? (written?.sentences ?? []) : [];
}

/** The mark of an answer that only quotes, and why nothing was written. @param {Answer} answer */
function renderVerbatim({ written }) {
  const code = written?.problem ?? null;
  const reason = code === null ? '' : (words().notWrittenFor[code] ?? code);
  return [
    code === null ? null : element('p', { class: 'note' }, say(words().notWritten, { reason })),
    renderWithheld(written?.withheld ?? 0),
    element('p', { class: 'origin' }, words().verbatim),
  ].filter((part) => part !== null);
}

/** @param {number} withheld sentences that failed a check */
function renderWithheld(withheld) {
  return withheld > 0 ? element('p', { class: 'note' }, say(words().withheld, { n: withheld })) : null;
}

/**
 * A written answer: its sentences, each followed by the numbers of its evidence.
 * @param {Answer} answer
 * @param {Place[]} places
 */
function renderWritten(answer, places) {
  const { model, withheld } = /** @type {Written} */ (answer.written);
  const parts = sentencesOf(answer).flatMap(({ text, citations }, i) => [
    i > 0 ? ' ' : '',
    text,
    ...citations.map((number) => renderMark(number, places, i)),
  ]);
  const by = sayWith(words().writtenBy, { model: element('bdi', { class: 'model' }, model) });
  return [
    element('p', { class: 'written', dir: 'auto' }, ...parts),
    renderWithheld(withheld),
    element('p', { class: 'origin' }, ...by),
  ].filter((part) => part !== null);
}

/**
 * The number of a citation inside a sentence; one that is not there stays text.
 * @param {number} number
 * @param {Place[]} places
 * @param {number} sentence
 */
function renderMark(number, places, sentence) {
  const place = places.find(({ label }) => label === String(number));
  return place ? renderChip({ ...place, key: `${place.key}-in-${sentence}` }) : ` [${number}]`;
}

// ------------------------------------------------------------------------------------ The refusal

/** @param {Answer} answer */
function verdict({ confidence }) {
  if (confidence < CERTAINLY_NOT) return words().notAnswered;
  return confidence < RATHER_YES ? words().notAnsweredWeak : words().notSurely;
}

/** It is an answer, and looks like one. @param {Answer} answer @param {string} turn @returns {HTMLElement[]} */
function renderRefusal(answer, turn) {
  const likely = say(words().likelyAfterAll, { p: percent(answer.confidence) });
  const said = element(
    'div',
    { class: 'lead sheet' },
    element('p', { class: 'verdict' }, verdict(answer)),
    renderConfidence(1 - answer.confidence, likely),
  );
  const closest = answer.closest ?? [];
  if (closest.length === 0) return [said];
  const heading = element('h3', { id: `${turn}-closest`, class: 'below' }, words().closest);
  const items = closest.map((passage, i) => renderClosest(passage, placeOfPassage(passage, turn, i)));
  const list = element('ol', { class: 'places', role: 'list', 'aria-labelledby': heading.id }, ...items);
  return [said, element('div', { class: 'closest' }, heading, list)];
}

// --------------------------------------------------------------------------------- The confidence

/** @param {number} share 0 to 1 */
function surenessStep(share) {
  const step = CONFIDENCE_STEPS.findIndex((bound) => share >= bound);
  return step < 0 ? CONFIDENCE_STEPS.length : step;
}

/** @param {number} share */
function sureness(share) {
  return words().confidence[surenessStep(share)];
}

/** @param {number} share of what is said being right @param {string} likely the same as a figure */
function renderConfidence(share, likely) {
  const lit = words().confidence.length - surenessStep(share);
  const steps = words().confidence.map((_, i) => element('i', { class: i < lit ? 'on' : null }));
  return element(
    'p',
    { class: 'confidence' },
    element('span', { class: 'steps', 'aria-hidden': 'true' }, ...steps),
    element('strong', {}, sureness(share)),
    ' ',
    element('span', {}, likely),
  );
}

// -------------------------------------------------------------------------------------- The cards

/** @param {Citation} citation @param {Place} place */
function renderCitation(citation, place) {
  return renderPlace(
    place,
    renderQuote(citation.language, citation.quote),
    renderRelation(citation),
    renderPassage(citation),
  );
}

/**
 * Words of a document, their paragraphs kept apart; where their lines ended does not matter here.
 * @param {string | null} language
 * @param {string} text
 */
function renderQuote(language, text) {
  const paragraphs = text.split(/(?:\r?\n|\r)\s*[\r\n]/u).map((each) => element('p', {}, each));
  return element('blockquote', { lang: language, dir: 'auto' }, ...paragraphs);
}

/**
 * How a citation relates to a better one of another document.
 * @param {Citation} citation
 * @returns {HTMLElement | null}
 */
function renderRelation({ same_as: same, differs_from: other }) {
  if (same) return element('p', { class: 'relation' }, say(words().sameAs, { n: same }));
  return other ? element('p', { class: 'relation' }, say(words().differsFrom, { n: other })) : null;
}

/** @param {Passage} passage @param {Place} place */
function renderClosest(passage, place) {
  return renderPlace(place, renderQuote(passage.language, passage.text));
}

/** @param {Citation} citation */
function renderPassage({ start, end, passage, language }) {
  const from = passage.start;
  const inside = { start: start - from, end: end - from };
  const nodes = markedText(passage.text, inside, { start: 0, end: passage.end - from });
  return element(
    'details',
    { class: 'passage' },
    element('summary', {}, words().passage),
    element('p', { lang: language, dir: 'auto' }, ...nodes),
  );
}

/**
 * A card: its number, the words, where they stand. The number is its button; a click anywhere on it
 * does the same, unless it selects text or meets another control.
 * @param {Place} place
 * @param {HTMLElement} quote
 * @param {...(HTMLElement | null)} more what else there is to say or to open
 */
function renderPlace(place, quote, ...more) {
  const caption = element(
    'figcaption',
    { class: 'facts' },
    renderTitle(place),
    ...renderFacts(
      ...locationFacts(place),
      ...originFacts(place.origin),
      sourceFact(place),
      languageName(place.language),
      scoreFact(place.score),
    ),
  );
  const body = element('div', {}, element('figure', {}, quote, caption), ...more);
  const card = element('li', { class: 'place' }, renderChip(place), body);
  card.addEventListener('click', (event) => {
    const onControl = event.target instanceof Element && event.target.closest('button, details');
    if (!onControl && getSelection()?.isCollapsed !== false) openSource(place);
  });
  return card;
}

/** @param {Place} place */
function renderChip(place) {
  const template = place.kind === 'citation' ? words().openCitation : words().openClosest;
  const name = say(template, { n: place.label, title: titleOf(place) });
  return button({ class: 'chip', 'data-place': place.key, 'aria-label': name }, place.label, () =>
    openSource(place),
  );
}
