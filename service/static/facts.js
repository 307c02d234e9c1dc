// What is said of a document, of a place in one, and of what went wrong: small pieces that several views show.

import { button, element, isolated } from './dom.js';
import { API_LANGUAGE, dayText, language, number, say, words } from './language.js';

/**
 * @typedef {import('./records.js').Location} Location
 * @typedef {import('./records.js').Origin} Origin
 * @typedef {import('./records.js').DocumentRecord} DocumentRecord
 * @typedef {import('./api.js').Problem} Problem
 * @typedef {{title: string | null, source: string, language: string | null}} Named
 */

/** @param {{title: string | null, source: string}} record */
export function titleOf(record) {
  return record.title || record.source;
}

/** @param {Named} record */
export function renderTitle(record) {
  return element('span', {}, element('cite', { lang: record.language, dir: 'auto' }, titleOf(record)));
}

/** The name of a file that has another title. @param {Named} record */
export function sourceFact(record) {
  return record.title && record.title !== record.source ? record.source : '';
}

/**
 * Page and section, or else the paragraph; the heading of the whole document says nothing about the place.
 * @param {{location: Location | null, title: string | null}} place
 * @returns {string[]}
 */
export function locationFacts({ location, title }) {
  if (!location) return [];
  const { page = null, last_page: last = null, section = null, paragraph = null } = location;
  const facts = [];
  if (page !== null) facts.push(last === null ? say(words().page, { n: page }) : pagesFact(page, last));
  if (section && section !== title) facts.push(say(words().section, { name: section }));
  if (facts.length === 0 && paragraph !== null) facts.push(say(words().paragraph, { n: paragraph }));
  return facts;
}

/** @param {number} page @param {number} last */
function pagesFact(page, last) {
  return say(words().pagesFromTo, { n: page, last });
}

/** Date and author, where a document's file or its metadata has them. @param {Origin | undefined} origin */
export function originFacts({ date, author } = {}) {
  return [dayText(date), typeof author === 'string' ? author : ''];
}

/** @param {DocumentRecord} record */
export function formatName(record) {
  return record.format ? (words().formats[record.format] ?? record.format) : '';
}

/** @param {number | null} score */
export function scoreFact(score) {
  if (score === null) return '';
  const n = number(score, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return say(words().score, { n });
}

/** Facts in a row, without the empty ones. @param {string[]} facts @returns {(Node | string)[]} */
export function renderFacts(...facts) {
  return facts.filter((fact) => fact !== '').flatMap((fact) => [' ', element('span', {}, isolated(fact))]);
}

/** What failed, in plain words. @param {Problem} problem */
export function failure({ status }) {
  return words().failures[String(status)] ?? words().failed;
}

/** Whether the same request may well succeed the next time. @param {Problem} problem */
export function mayPass({ status }) {
  return status === 0 || status === 429 || status >= 500;
}

/** @param {Problem} problem @param {() => void} again offered where it may help */
export function renderProblem(problem, again) {
  return element(
    'div',
    { class: 'problem', lang: language() },
    element('strong', {}, failure(problem)),
    problem.message ? element('p', { lang: API_LANGUAGE }, problem.message) : null,
    problem.hint ? element('p', { lang: API_LANGUAGE }, problem.hint) : null,
    mayPass(problem) ? button({ class: 'secondary' }, words().again, again) : null,
  );
}
