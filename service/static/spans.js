// Spans of a text: from code points, in which the service counts, to the UTF-16 units of a JavaScript string.

import { element } from './dom.js';
import { words } from './language.js';

/** @typedef {import('./records.js').Span} Span */

/**
 * Where code points begin in a JavaScript string.
 * @param {string} text
 * @param {number[]} offsets in code points, ascending
 * @returns {number[]} in UTF-16 units
 */
export function toUtf16(text, offsets) {
  let unit = 0;
  let point = 0;
  return offsets.map((offset) => {
    for (; point < offset && unit < text.length; point += 1) {
      unit += /** @type {number} */ (text.codePointAt(unit)) > 0xffff ? 2 : 1;
    }
    return unit;
  });
}

/**
 * A stretch of the text with one part marked inside another that is tinted.
 * @param {string} text
 * @param {Span} marked
 * @param {Span} around
 * @param {number} from first UTF-16 unit to draw
 * @param {number} to
 * @returns {Node[]}
 */
export function markedText(text, marked, around, from = 0, to = text.length) {
  const [a, b, c, d] = toUtf16(text, [
    Math.min(around.start, marked.start),
    marked.start,
    marked.end,
    Math.max(around.end, marked.end),
  ]);
  const spoken = { 'data-begins': words().markBegins, 'data-ends': words().markEnds };
  const mark = element('mark', spoken, asLines(text.slice(b, c)));
  const before = asLines(text.slice(a, b));
  const after = asLines(text.slice(c, d));
  return [
    new Text(asLines(text.slice(from, a))),
    element('span', { class: 'around' }, before, mark, after),
    new Text(asLines(text.slice(d, to))),
  ];
}

/** A lone carriage return would not break the line. @param {string} text */
export function asLines(text) {
  return text.replace(/\r\n?/g, '\n');
}

/**
 * The offset inside the text, and not inside a surrogate pair.
 * @param {string} text
 * @param {number} offset
 */
export function wholeFrom(text, offset) {
  const kept = Math.max(0, Math.min(offset, text.length));
  return /[\uDC00-\uDFFF]/.test(text.charAt(kept)) ? kept - 1 : kept;
}
