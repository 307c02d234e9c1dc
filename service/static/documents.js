// The list of documents: filtered, counted, opened, removed.

import { asProblem, listDocuments, removeDocument } from './api.js';
import { confirmed } from './confirm.js';
import { announce, button, byId, element } from './dom.js';
import { formatName, originFacts, renderFacts, renderProblem, sourceFact, titleOf } from './facts.js';
import { languageName, say, whenSwitched, words } from './language.js';
import { forgetOrigins } from './origins.js';
import { placeOfDocument } from './places.js';
import { closeSourceOf, markOpener, openSource } from './source.js';

/**
 * @typedef {import('./records.js').DocumentRecord} DocumentRecord
 * @typedef {import('./records.js').Filter} Filter
 */

/** How long a pause in typing is the end of a word, in milliseconds. */
const PAUSE = 250;
/** What the service can tell apart: the ISO 639-1 codes of its language detection. */
const LANGUAGES =
  'af am an ar as az be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr ga gl gu he hi hr ht hu hy id is it ja ' +
  'jv ka kk km kn ko ku ky la lb lo lt lv mg mk ml mn mr ms mt nb ne nl nn no oc or pa pl ps pt qu ro ru rw se si sk sl ' +
  'sq sr sv sw ta te th tl tr ug uk ur vi vo wa xh zh zu';

const wordsField = byId('filter-words', HTMLInputElement);
const languageField = byId('filter-language', HTMLSelectElement);
const formatField = byId('filter-format', HTMLSelectElement);
const list = byId('document-list', HTMLElement);

/** @type {DocumentRecord[]} */
let documents = [];
/** @type {string | null} */
let nextCursor = null;
/** @type {number | null} How many match, if the service says so. */
let total = null;
/** @type {import('./api.js').Problem | null} */
let problem = null;
/** Whether there is any document at all; null: not known yet. @type {boolean | null} */
let isAny = null;
let loading = new AbortController();
/** @type {Set<string>} Languages met so far. */
const met = new Set();

/** @returns {Filter} */
function filter() {
  return { q: wordsField.value.trim(), language: languageField.value, format: formatField.value };
}

function isFiltered() {
  return Object.values(filter()).some((value) => value !== '');
}

/** Loads the first page of the list. */
export async function loadDocuments() {
  await load(null, () => []);
}

/** Loads the next page and moves the focus to its first document. */
async function loadMore() {
  const before = documents.length;
  await load(nextCursor, () => documents);
  focusDocument(before);
}

/**
 * Loads a page after those that stay; a later call makes an earlier one void.
 * @param {string | null} cursor
 * @param {() => DocumentRecord[]} staying
 */
async function load(cursor, staying) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const wasFiltered = isFiltered();
  try {
    const page = await listDocuments(cursor, filter(), signal);
    documents = [...staying(), ...page.documents];
    nextCursor = page.next_cursor ?? null;
    total = page.total ?? (nextCursor === null ? documents.length : null);
    problem = null;
    if (!wasFiltered) isAny = documents.length > 0;
    for (const { language } of page.documents) if (language) met.add(language);
  } catch (error) {
    if (signal.aborted) return;
    problem = asProblem(error);
  }
  renderDocuments();
}

function countText() {
  if (total === null) return '';
  return say(isFiltered() ? words().matchCount : words().documentCount, { n: total });
}

function renderDocuments() {
  list.replaceChildren(...documents.map(renderDocument));
  byId('library-problem', HTMLElement).replaceChildren(
    ...(problem ? [renderProblem(problem, loadDocuments)] : []),
  );
  byId('document-count', HTMLElement).textContent = problem ? '' : countText();
  byId('filters', HTMLElement).hidden = isAny === false;
  byId('library-empty', HTMLElement).hidden = isAny !== false || problem !== null;
  byId('library-none', HTMLElement).hidden =
    isAny === false || !isFiltered() || documents.length > 0 || problem !== null;
  byId('no-documents', HTMLElement).hidden = isAny !== false;
  byId('more', HTMLElement).hidden = nextCursor === null;
  renderLanguages();
  markOpener();
}

/** The languages of the list first, then all others that there may be. */
function renderLanguages() {
  const chosen = languageField.value;
  const named = (/** @type {string[]} */ codes) =>
    codes
      .map((code) => ({ code, name: languageName(code) || code }))
      .sort((a, b) => a.name.localeCompare(b.name))
      .map(({ code, name }) => element('option', { value: code }, name));
  const others = LANGUAGES.split(' ').filter((code) => !met.has(code));
  languageField.replaceChildren(
    element('option', { value: '' }, words().anyLanguage),
    element(
      'optgroup',
      { label: words().languagesHere },
      ...named([...met].filter((code) => code !== 'und')),
    ),
    element('optgroup', { label: words().languagesOther }, ...named(others)),
  );
  languageField.value = chosen;
}

function renderFormats() {
  const chosen = formatField.value;
  formatField.replaceChildren(
    element('option', { value: '' }, words().anyFormat),
    ...Object.entries(words().formats).map(([value, name]) => element('option', { value }, name)),
  );
  formatField.value = chosen;
}

/** @param {DocumentRecord} record */
function renderDocument(record) {
  const place = placeOfDocument(record);
  const title = titleOf(record);
  const facts = renderFacts(
    sourceFact(record),
    formatName(record),
    languageName(record.language),
    ...originFacts(record.metadata),
    record.pages ? say(words().pages, { n: record.pages }) : '',
    say(words().characters, { n: record.characters }),
    say(words().passages, { n: record.passages }),
  );
  return element(
    'li',
    {},
    element(
      'div',
      {},
      button({ class: 'open', 'data-place': place.key, lang: record.language, dir: 'auto' }, title, () =>
        openSource(place),
      ),
      element('p', { class: 'facts' }, ...facts),
    ),
    button({ class: 'quiet', 'aria-label': say(words().removeNamed, { title }) }, words().remove, () =>
      remove(record),
    ),
  );
}

/** Focuses the document at this place in the list, or the last one. @param {number} at */
function focusDocument(at) {
  const titles = list.querySelectorAll('.open');
  const target = titles[Math.min(at, titles.length - 1)] ?? byId('files', HTMLElement);
  if (target instanceof HTMLElement) target.focus();
}

/** @param {DocumentRecord} record */
async function remove(record) {
  const title = titleOf(record);
  const { removeAsk: ask, removeMeans: means, remove: verb } = words();
  if (!(await confirmed({ ask, title, means, verb }))) return;
  const at = documents.indexOf(record);
  try {
    await removeDocument(record.id);
    documents = documents.filter(({ id }) => id !== record.id);
    if (total !== null) total -= 1;
    if (!isFiltered()) isAny = documents.length > 0;
    problem = null;
    forgetOrigins();
    closeSourceOf(record.id);
    announce(say(words().removed, { title }));
  } catch (error) {
    problem = asProblem(error);
  }
  renderDocuments();
  focusDocument(at);
}

async function applyFilter() {
  await loadDocuments();
  announce(problem || total === null ? '' : documents.length === 0 ? words().noMatch : countText());
}

export function startDocuments() {
  let pause = 0;
  wordsField.addEventListener('input', () => {
    clearTimeout(pause);
    pause = setTimeout(applyFilter, PAUSE);
  });
  for (const select of [languageField, formatField]) select.addEventListener('change', applyFilter);
  byId('filters', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    clearTimeout(pause);
    applyFilter();
  });
  byId('filter-clear', HTMLElement).addEventListener('click', () => {
    byId('filters', HTMLFormElement).reset();
    wordsField.focus();
    applyFilter();
  });
  byId('more', HTMLElement).addEventListener('click', loadMore);
  const draw = () => {
    renderFormats();
    renderDocuments();
  };
  whenSwitched(draw);
  draw();
  loadDocuments();
}
