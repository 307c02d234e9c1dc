// The calls to the service, and what may be wrong with them.

/** @typedef {import('./records.js').Answer} Answer @typedef {import('./records.js').DocumentRecord} DocumentRecord */

import { anotherKey, keyHeaders, presentKey } from './key.js';

const PAGE_SIZE = 50;

/** What the API, or the way to it, says went wrong. `status` 0: no reply came; -1: the page's own mistake. */
export class Problem extends Error {
  /** @param {number} status @param {string} message @param {string} [hint] */
  constructor(status, message = '', hint = '') {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

/** @param {string} question @param {string | null} previous @returns {Promise<Answer>} */
export async function askService(question, previous) {
  const body = previous ? { question, previous } : { question };
  const headers = { 'Content-Type': 'application/json' };
  return (await request('/v1/ask', { method: 'POST', headers, body: JSON.stringify(body) })).json();
}

/**
 * @param {string | null} cursor
 * @param {import('./records.js').Filter} filter
 * @param {AbortSignal} signal
 * @returns {Promise<import('./records.js').DocumentPage>}
 */
export async function listDocuments(cursor, filter, signal) {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
  for (const [name, value] of Object.entries({ ...filter, cursor })) if (value) query.set(name, value);
  return (await request(`/v1/documents?${query}`, { signal })).json();
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<DocumentRecord>} */
export async function describeDocument(id, signal) {
  return (await request(documentPath(id), { signal })).json();
}

/** @param {string} id @param {AbortSignal} signal @returns {Promise<string>} */
export async function documentText(id, signal) {
  const response = await request(`${documentPath(id)}/text`, { signal });
  // response.text() would drop a leading byte order mark, and every offset would be one too far.
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(await response.arrayBuffer());
}

/** @param {string} id the address of the file as it was uploaded */
export function originalPath(id) {
  return `${documentPath(id)}/original`;
}

/** @param {string} id @returns {Promise<Blob>} the file as it was uploaded; a link could not carry a key */
export async function documentOriginal(id) {
  return (await request(originalPath(id), {})).blob();
}

/** Removed by someone else is removed as well. @param {string} id */
export async function removeDocument(id) {
  try {
    await request(documentPath(id), { method: 'DELETE' });
  } catch (error) {
    if (asProblem(error).status !== 404) throw error;
  }
}

/**
 * Sends one file. Only XMLHttpRequest tells how much of it has left.
 * @param {File} file
 * @param {(sent: number) => void} onSent gets the share that has left, 1 once all has
 * @returns {Promise<import('./records.js').Added>}
 */
export async function upload(file, onSent) {
  for (;;) {
    const key = presentKey();
    try {
      return await sendFile(file, onSent);
    } catch (error) {
      if (asProblem(error).status !== 401 || !(await anotherKey(key))) throw error;
    }
  }
}

/**
 * @param {File} file
 * @param {(sent: number) => void} onSent
 * @returns {Promise<import('./records.js').Added>}
 */
function sendFile(file, onSent) {
  const body = new FormData();
  body.append('file', file, file.name);
  const call = new XMLHttpRequest();
  call.open('POST', '/v1/documents');
  for (const [name, value] of Object.entries(keyHeaders())) call.setRequestHeader(name, value);
  call.upload.addEventListener('progress', ({ loaded, total }) => onSent(total ? loaded / total : 0));
  call.upload.addEventListener('load', () => onSent(1));
  return new Promise((resolve, reject) => {
    call.addEventListener('error', () => reject(new Problem(0)));
    call.addEventListener('load', () => {
      const answer = parsed(call.responseText);
      if (call.status === 201 && answer) resolve(answer);
      else reject(problemOf(call.status, answer));
    });
    call.send(body);
  });
}

/** @param {string} text @returns {any} null if it is not JSON */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {string} id */
function documentPath(id) {
  return `/v1/documents/${encodeURIComponent(id)}`;
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} a successful response
 * @throws {Problem} for every other
 */
async function request(path, init) {
  let key = presentKey();
  let response = await reply(path, init);
  while (response.status === 401 && (await anotherKey(key))) {
    key = presentKey();
    response = await reply(path, init);
  }
  if (response.ok) return response;
  throw problemOf(response.status, await response.json().catch(() => null));
}

/** @param {string} path @param {RequestInit} [init] */
async function reply(path, init) {
  try {
    return await fetch(path, { ...init, headers: { ...init?.headers, ...keyHeaders() } });
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    throw new Problem(0);
  }
}

/** @param {number} status @param {any} body */
function problemOf(status, body) {
  return new Problem(status, asText(body?.error?.message), asText(body?.error?.hint));
}

/** @param {unknown} value */
function asText(value) {
  return typeof value === 'string' ? value : '';
}

/** @param {unknown} error @returns {Problem} */
export function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem(-1);
}
