// The source panel: a document beside the answer, scrolled to the quote, the quote highlighted in its context.

import { asProblem, describeDocument, documentOriginal, documentText, originalPath } from './api.js';
import { button, byId, element, setLanguageOf } from './dom.js';
import {
  formatName,
  locationFacts,
  originFacts,
  renderFacts,
  renderProblem,
  scoreFact,
  sourceFact,
  titleOf,
} from './facts.js';
import { presentKey } from './key.js';
import { language, languageName, say, whenSwitched, words } from './language.js';
import { asLines, markedText, toUtf16, wholeFrom } from './spans.js';

/**
 * @typedef {import('./records.js').Place} Place
 * @typedef {import('./records.js').Span} Span
 * @typedef {import('./records.js').DocumentRecord} DocumentRecord
 *
 * The panel's content; `before` and `after` say how much is drawn either side of the highlight, in UTF-16 units.
 * @typedef {Object} OpenSource
 * @property {Place} place
 * @property {string | null} text
 * @property {DocumentRecord | null} record
 * @property {import('./api.js').Problem | null} problem
 * @property {number} before
 * @property {number} after
 */

/** How much of a source is drawn at once, either side of the highlight, in UTF-16 units. */
const STRETCH = 25_000;
/** The formats that lose something on the way to text. */
const WITH_ORIGINAL = new Set(['html', 'pdf', 'docx']);
/** Where the source is a sheet over the page; the same width stands in source.css. */
const SHEET = window.matchMedia('not all and (min-width: 64rem)');

const panel = byId('source', HTMLElement);
const panelText = byId('source-text', HTMLElement);

/** @type {OpenSource | null} */
let shown = null;
let opening = new AbortController();

/** @param {Place} place */
export async function openSource(place) {
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  /** @type {OpenSource} */
  const open = { place, text: null, record: null, problem: null, before: STRETCH, after: STRETCH };
  shown = open;
  render();
  byId('source-title', HTMLElement).focus({ preventScroll: true });
  const described = describeDocument(place.documentId, signal).catch(() => null);
  try {
    open.text = await documentText(place.documentId, signal);
    open.record = await described;
  } catch (error) {
    if (!signal.aborted) open.problem = asProblem(error);
  }
  if (!signal.aborted) render();
}

/** Closes the source and gives the focus back to what opened it. */
export function closeSource() {
  if (!shown) return;
  const { key } = shown.place;
  opening.abort();
  shown = null;
  render();
  const opener = [
    ...openersOf(key),
    ...document.querySelectorAll('main section:not([hidden]) [data-first]'),
  ][0];
  if (opener instanceof HTMLElement) opener.focus();
}

/** @param {string} id the document that is gone */
export function closeSourceOf(id) {
  if (shown?.place.documentId === id) closeSource();
}

/** The visible buttons of a place. @param {string} key */
function openersOf(key) {
  return [...document.querySelectorAll(`[data-place="${CSS.escape(key)}"]`)].filter(
    (opener) => opener instanceof HTMLElement && opener.offsetParent,
  );
}

/** Shows which number the open source belongs to. */
export function markOpener() {
  for (const old of document.querySelectorAll('[data-place][aria-current]')) {
    old.removeAttribute('aria-current');
  }
  if (!shown) return;
  for (const opener of openersOf(shown.place.key)) opener.setAttribute('aria-current', 'true');
}

function render() {
  panel.hidden = !shown;
  document.body.classList.toggle('has-source', shown !== null);
  coverPage();
  markOpener();
  if (!shown) return panelText.replaceChildren();
  renderHead(shown);
  renderText(shown);
}

/** On narrow windows the sheet hides the page, so the page must not take the focus either. */
function coverPage() {
  const covered = shown !== null && SHEET.matches;
  for (const id of ['top', 'main']) byId(id, HTMLElement).inert = covered;
}

/** @param {OpenSource} open */
function renderHead({ place, record }) {
  const title = byId('source-title', HTMLElement);
  title.textContent = titleOf(place);
  setLanguageOf(title, place.language);
  byId('source-kind', HTMLElement).textContent = say(words().kind[place.kind], { n: place.label });
  byId('source-facts', HTMLElement).replaceChildren(
    ...renderFacts(
      ...locationFacts(place),
      ...originFacts(record?.metadata ?? place.origin),
      sourceFact(place),
      languageName(place.language),
      record?.pages ? say(words().pages, { n: record.pages }) : '',
      scoreFact(place.score),
    ),
  );
  const original = byId('source-original', HTMLAnchorElement);
  original.hidden = !record?.format || !WITH_ORIGINAL.has(record.format);
  original.href = originalPath(place.documentId);
  original.dataset.document = place.documentId;
  original.dataset.name = place.source.split('/').pop() ?? '';
  original.textContent = record ? say(words().original, { format: formatName(record) }) : '';
}

/** A link cannot carry a key: with one, the file is fetched and handed to the browser. @param {MouseEvent} event */
async function saveOriginal(event) {
  const link = byId('source-original', HTMLAnchorElement);
  if (presentKey() === null) return;
  event.preventDefault();
  try {
    const address = URL.createObjectURL(await documentOriginal(link.dataset.document ?? ''));
    const saved = element('a', {});
    saved.setAttribute('href', address);
    saved.setAttribute('download', link.dataset.name ?? '');
    saved.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    byId('source-problem', HTMLElement).replaceChildren(renderProblem(asProblem(error), () => link.click()));
  }
}

/** @param {OpenSource} open */
function renderText(open) {
  const { place, text, problem } = open;
  const problems = byId('source-problem', HTMLElement);
  problems.replaceChildren(...(problem ? [renderProblem(problem, () => openSource(place))] : []));
  panelText.setAttribute('aria-busy', String(text === null && !problem));
  setLanguageOf(panelText, text === null ? null : place.language);
  if (text === null) return panelText.replaceChildren(problem ? '' : words().loading);
  const stands = stillStands(place, text);
  if (!stands) problems.append(element('p', { class: 'notice', role: 'alert' }, words().moved));
  drawText(open, text, stands ? place.marked : null);
  scrollToMark();
}

/**
 * Whether the words to be highlighted are where the answer found them.
 * @param {Place} place
 * @param {string} text
 */
function stillStands({ marked, expected }, text) {
  if (!marked) return true;
  const [start, end] = toUtf16(text, [marked.start, marked.end]);
  return text.slice(start, end) === expected;
}

/**
 * Draws the text around the highlight, or from its beginning. Browsers lay out a paragraph of
 * megabytes in minutes, so the rest waits behind two buttons.
 * @param {OpenSource} open
 * @param {string} text
 * @param {Span | null} marked
 */
function drawText(open, text, marked) {
  const [start, end] = toUtf16(text, marked ? [marked.start, marked.end] : [0, 0]);
  const from = wholeFrom(text, start - open.before);
  const to = wholeFrom(text, end + open.after);
  const drawn = marked
    ? markedText(text, marked, open.place.around ?? marked, from, to)
    : [asLines(text.slice(from, to))];
  const more = (/** @type {"before" | "after"} */ side, /** @type {string} */ name) =>
    button({ class: 'secondary', lang: language() }, name, () => {
      showMore(open, side, () => drawText(open, text, marked));
    });
  panelText.replaceChildren(
    from > 0 ? more('before', words().earlier) : '',
    ...drawn,
    to < text.length ? more('after', words().later) : '',
  );
}

/**
 * Draws more of the text, while what is being read stays where it is.
 * @param {OpenSource} open
 * @param {"before" | "after"} side
 * @param {() => void} draw
 */
function showMore(open, side, draw) {
  const { scrollTop, scrollHeight } = panelText;
  open[side] += STRETCH;
  draw();
  const grown = side === 'before' ? panelText.scrollHeight - scrollHeight : 0;
  panelText.scrollTop = scrollTop + grown;
  panelText.focus({ preventScroll: true });
}

/** Puts the highlight a third down the panel; the page stays. */
function scrollToMark() {
  panelText.scrollTop = 0;
  const mark = panelText.querySelector('mark');
  if (!mark) return;
  const above = mark.getBoundingClientRect().top - panelText.getBoundingClientRect().top;
  panelText.scrollTop = above - panelText.clientHeight / 3;
}

/** @param {() => boolean} isBusy whether something else has a claim on the key Escape */
export function startSource(isBusy) {
  byId('source-close', HTMLElement).addEventListener('click', closeSource);
  byId('source-original', HTMLAnchorElement).addEventListener('click', saveOriginal);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !event.isComposing && !isBusy()) closeSource();
  });
  SHEET.addEventListener('change', coverPage);
  whenSwitched(render);
}
