// Conversations, kept in this browser and nowhere else: bounded, checked when read, gone when told so.

import { read, readTab, write, writeTab } from './storage.js';

/**
 * @typedef {import('./records.js').Conversation} Conversation
 * @typedef {import('./records.js').Turn} Turn
 */

const KEY = 'fundstelle.history';
/** Which conversation a tab is in, so that a reload goes on with it. */
const CURRENT_KEY = 'fundstelle.conversation';
export const MAX_CONVERSATIONS = 50;
/** Of everything kept, in UTF-16 units; browsers give a site some five million. */
export const MAX_SIZE = 1_500_000;

/** What is left where the browser keeps nothing. @type {Conversation[]} */
let inMemory = [];
let isKept = true;

/** @returns {Conversation} */
export function newConversation() {
  return { id: crypto.randomUUID?.() ?? String(Date.now() + Math.random()), turns: [] };
}

/** Newest first. @returns {Conversation[]} */
export function conversations() {
  return isKept ? parse(read(KEY)) : inMemory;
}

/** Whether what is kept will be there after the page was closed. */
export function isLasting() {
  return isKept;
}

/** Puts a conversation first; the oldest go where there are too many. @param {Conversation} conversation */
export function keep(conversation) {
  const answered = conversation.turns.filter(({ answer }) => answer);
  if (answered.length === 0) return;
  const others = conversations().filter(({ id }) => id !== conversation.id);
  store([{ id: conversation.id, turns: answered }, ...others]);
  writeTab(CURRENT_KEY, conversation.id);
}

/** @returns {Conversation | null} the one this tab was in before it was reloaded */
export function resumed() {
  const id = readTab(CURRENT_KEY);
  return conversations().find((conversation) => conversation.id === id) ?? null;
}

/** @param {Conversation | null} conversation the one this tab is in now, null for one that has yet to begin */
export function enter(conversation) {
  writeTab(CURRENT_KEY, conversation?.id ?? null);
}

/** @param {string} id */
export function forget(id) {
  store(conversations().filter((conversation) => conversation.id !== id));
}

export function forgetAll() {
  inMemory = [];
  write(KEY, null);
  writeTab(CURRENT_KEY, null);
}

/** @param {(changed: void) => void} draw called when another tab changed what is kept */
export function whenChangedElsewhere(draw) {
  addEventListener('storage', ({ key }) => {
    if (key === KEY || key === null) draw();
  });
}

/** Writes as many as there is room for. @param {Conversation[]} wanted newest first */
function store(wanted) {
  let kept = wanted.slice(0, MAX_CONVERSATIONS);
  let text = serialise(kept);
  while (text.length > MAX_SIZE && (kept.length > 1 || kept[0].turns.length > 1)) {
    kept = withoutOldest(kept);
    text = serialise(kept);
  }
  while (!(isKept = write(KEY, text)) && kept.length > 1) {
    kept = kept.slice(0, Math.ceil(kept.length / 2));
    text = serialise(kept);
  }
  inMemory = isKept ? [] : wanted.slice(0, MAX_CONVERSATIONS);
}

/** Without the oldest conversation, or the oldest question of the only one. @param {Conversation[]} kept */
function withoutOldest(kept) {
  if (kept.length > 1) return kept.slice(0, -1);
  return [{ ...kept[0], turns: kept[0].turns.slice(1) }];
}

/** @param {Conversation[]} kept */
function serialise(kept) {
  const turns = (/** @type {Turn[]} */ all) =>
    all.map(({ question, previous, answer, at }) => ({ question, previous, answer, at }));
  return JSON.stringify(
    kept.map((conversation) => ({ id: conversation.id, turns: turns(conversation.turns) })),
  );
}

/** @param {string | null} text @returns {Conversation[]} what of it can be shown */
function parse(text) {
  let value;
  try {
    value = JSON.parse(text ?? '[]');
  } catch {
    return [];
  }
  if (!Array.isArray(value)) return [];
  return value
    .filter((each) => typeof each?.id === 'string' && Array.isArray(each.turns))
    .map(({ id, turns }) => ({ id, turns: turns.filter(isTurn).map(reopened) }))
    .filter(({ turns }) => turns.length > 0);
}

/** @param {any} turn @returns {Turn} */
function reopened({ question, previous, answer, at }) {
  return { question, previous: previous ?? null, answer, problem: null, at, reopened: true };
}

/** Whether it has everything that is drawn of it: an earlier version, or anything else, may have written it. @param {any} turn */
function isTurn(turn) {
  const { question, answer, at } = turn ?? {};
  if (typeof question !== 'string' || typeof at !== 'number' || typeof answer !== 'object') return false;
  const { answerable, confidence, citations, closest = [] } = answer ?? {};
  return (
    typeof answerable === 'boolean' &&
    typeof confidence === 'number' &&
    Array.isArray(citations) &&
    Array.isArray(closest) &&
    citations.every(
      (citation) => isPlace(citation) && typeof citation.quote === 'string' && isText(citation.passage),
    ) &&
    closest.every((passage) => isPlace(passage) && isText(passage)) &&
    isWritten(answer.written ?? null)
  );
}

/** @param {any} place */
function isPlace(place) {
  const { document_id: id, source, start, end, score } = place ?? {};
  return typeof id === 'string' && typeof source === 'string' && [start, end, score].every(Number.isFinite);
}

/** @param {any} passage */
function isText(passage) {
  const { text, start, end } = passage ?? {};
  return typeof text === 'string' && Number.isFinite(start) && Number.isFinite(end);
}

/** @param {any} written */
function isWritten(written) {
  if (written === null) return true;
  const { sentences, model } = written;
  if (!Array.isArray(sentences) || typeof model !== 'string') return false;
  return sentences.every(
    (/** @type {any} */ sentence) => typeof sentence?.text === 'string' && Array.isArray(sentence.citations),
  );
}
