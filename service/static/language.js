// The page's language: its words, and how it writes numbers, dates and the names of languages.

import { STRINGS } from './strings.js';
import { read, write } from './storage.js';

/** @typedef {keyof typeof STRINGS} Language @typedef {typeof STRINGS.en} Words */

const KEY = 'fundstelle.language';
/** The service's error messages are English. */
export const API_LANGUAGE = 'en';

/** @type {Language} */
let current = chosen();
/** @type {(() => void)[]} */
const listeners = [];

/** @returns {Language} the language chosen before, else the browser's */
function chosen() {
  const kept = read(KEY);
  if (kept === 'de' || kept === 'en') return kept;
  return navigator.language.toLowerCase().startsWith('de') ? 'de' : 'en';
}

/** Dates and numbers as the browser's own region writes them, if it speaks the page's language. */
function locale() {
  return navigator.languages.find((each) => each.split('-')[0] === current) ?? current;
}

/** @returns {Words} */
export function words() {
  return STRINGS[current];
}

export function language() {
  return current;
}

/** @returns {Language} the one it can be switched to */
export function otherLanguage() {
  return current === 'de' ? 'en' : 'de';
}

/** @param {() => void} draw called after each switch */
export function whenSwitched(draw) {
  listeners.push(draw);
}

export function switchLanguage() {
  current = otherLanguage();
  write(KEY, current);
  for (const draw of listeners) draw();
}

/** @param {string | string[]} template @param {number | undefined} n */
function chosenForm(template, n) {
  return Array.isArray(template) ? template[n === 1 ? 0 : 1] : template;
}

/**
 * A string of the table with its {names} filled in.
 * @param {string | string[]} template where the number n changes the words: for one, for several
 * @param {Record<string, string | number>} values
 */
export function say(template, values) {
  const n = typeof values.n === 'number' ? values.n : undefined;
  return chosenForm(template, n).replace(/\{(\w+)\}/gu, (_, name) => {
    const value = values[name];
    return typeof value === 'number' ? number(value) : value;
  });
}

/**
 * The same where a value is an element.
 * @param {string} template
 * @param {Record<string, Node>} values
 * @returns {(Node | string)[]}
 */
export function sayWith(template, values) {
  return template.split(/\{(\w+)\}/u).map((part, i) => (i % 2 === 1 ? values[part] : part));
}

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
export function number(value, options) {
  return new Intl.NumberFormat(locale(), options).format(value);
}

/** Never rounded up: 100 % is said only of certainty. @param {number} share 0 to 1 */
export function percent(share) {
  return number(share, { style: 'percent', maximumFractionDigits: 0, roundingMode: 'trunc' });
}

/** A language's name, or its code where it has none. @param {string | null | undefined} code */
export function languageName(code) {
  if (!code || code === 'und') return '';
  try {
    return new Intl.DisplayNames([current], { type: 'language' }).of(code) ?? code;
  } catch {
    return code;
  }
}

/**
 * A date as documents state it: written out if it is a whole day, else as it stands.
 * @param {unknown} stated ISO 8601, as "2024-05-01", "2024-05-01T10:00:00Z", "2024-05" or "2024"
 */
export function dayText(stated) {
  if (typeof stated !== 'string') return typeof stated === 'number' ? String(stated) : '';
  const day = /^(\d{4}-\d{2}-\d{2})(?:$|[T ])/.exec(stated.trim());
  const date = new Date(day ? `${day[1]}T12:00:00` : NaN);
  if (Number.isNaN(date.getTime())) return stated.trim();
  return new Intl.DateTimeFormat(locale(), { dateStyle: 'long' }).format(date);
}

/** @param {number} moment in milliseconds */
export function momentText(moment) {
  return new Intl.DateTimeFormat(locale(), { dateStyle: 'medium', timeStyle: 'short' }).format(moment);
}
