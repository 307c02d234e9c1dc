// Date and author of the documents an answer cites, asked for where the citations do not carry them.

import { describeDocument } from './api.js';

/** @typedef {import('./records.js').Origin} Origin @typedef {import('./records.js').Answer} Answer */

const PATIENCE = 1_000;

/** @type {Map<string, Promise<Origin>>} */
const known = new Map();

/** Adds what is known of each citation's and passage's document; without it, the answer stands all the same. @param {Answer} answer */
export async function addOrigins({ citations, closest = [] }) {
  const signal = AbortSignal.timeout(PATIENCE);
  const lacking = [...citations, ...closest].filter(({ metadata }) => !metadata);
  await Promise.all(
    lacking.map(async (place) => {
      place.metadata = await originOf(place.document_id, signal);
    }),
  );
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<Origin>} */
function originOf(id, signal) {
  const asked = known.get(id) ?? describeDocument(id, signal).then(({ metadata }) => originIn(metadata));
  known.set(id, asked);
  return asked.catch(() => {
    known.delete(id);
    return {};
  });
}

/** A document is another one after an upload. */
export function forgetOrigins() {
  known.clear();
}

/** The little that the page shows, and that its history keeps. @param {Origin | undefined} metadata @returns {Origin} */
function originIn({ date, author } = {}) {
  return { date, author };
}
