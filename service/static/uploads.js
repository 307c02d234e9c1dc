// Uploads: files chosen or dropped, sent one by one, each with its progress and its own result.

import { Problem, asProblem, upload as send } from './api.js';
import { loadDocuments } from './documents.js';
import { announce, byId, element, isolated } from './dom.js';
import { failure } from './facts.js';
import { API_LANGUAGE, percent, say, whenSwitched, words } from './language.js';
import { forgetOrigins } from './origins.js';

/** @typedef {import('./records.js').Upload} Upload */

/** The service takes no larger file; saying so here saves the way. */
const MAX_BYTES = 50 * 2 ** 20;

const files = byId('files', HTMLInputElement);
const list = byId('uploads', HTMLElement);

/** Newest batch first. @type {Upload[]} */
let uploads = [];

/** @param {File[]} chosen */
async function addFiles(chosen) {
  if (chosen.length === 0) return;
  const added = chosen.map((file) => newUpload(file.name));
  uploads = [...added, ...uploads];
  render();
  for (const [i, upload] of added.entries()) await addFile(upload, chosen[i]);
  const done = added.filter(({ stage }) => stage === 'done').length;
  announce(say(words().uploadsDone, { done, all: added.length }));
  forgetOrigins();
  await loadDocuments();
}

/** @param {string} name @returns {Upload} */
function newUpload(name) {
  return { name, stage: 'waiting', sent: 0, documents: [], problem: null };
}

/** @param {Upload} upload @param {File} file */
async function addFile(upload, file) {
  upload.stage = 'sending';
  redraw(upload);
  try {
    if (!isReadable(file.name)) throw new Problem(415);
    if (file.size > MAX_BYTES) throw new Problem(413);
    const { documents, rejected = [] } = await send(file, (sent) => {
      upload.sent = sent;
      upload.stage = sent < 1 ? 'sending' : 'reading';
      redraw(upload);
    });
    if (rejected.length > 0) throw new Problem(422, rejected[0].error.message, rejected[0].error.hint);
    upload.documents = documents;
    upload.stage = 'done';
  } catch (error) {
    upload.problem = asProblem(error);
    upload.stage = 'failed';
  }
  redraw(upload);
}

/** The kinds of file the input offers are the kinds that are sent. @param {string} name */
function isReadable(name) {
  return files.accept.split(',').some((ending) => name.toLowerCase().endsWith(ending.trim()));
}

function render() {
  list.hidden = uploads.length === 0;
  list.replaceChildren(...uploads.map(renderUpload));
}

/** @param {Upload} upload */
function redraw(upload) {
  list.children[uploads.indexOf(upload)]?.replaceWith(renderUpload(upload));
}

/** @param {Upload} upload */
function renderUpload(upload) {
  const { name, stage, problem } = upload;
  const sign = { waiting: '·', sending: '↑', reading: '…', done: '✓', failed: '!' }[stage];
  return element(
    'li',
    { class: stage },
    element('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
    element('span', {}, isolated(name), ' ', element('span', { class: 'outcome' }, outcome(upload))),
    isOnItsWay(upload) ? renderProgress(upload) : null,
    problem ? renderReason(problem) : null,
  );
}

/** @param {Upload} upload */
function isOnItsWay({ stage }) {
  return stage === 'sending' || stage === 'reading';
}

/** @param {Upload} upload */
function outcome({ stage, sent, documents }) {
  if (stage === 'sending') return say(words().stage.sending, { p: percent(sent) });
  if (stage !== 'done') return words().stage[stage];
  return documents
    .map(({ status = '', passages }) =>
      [words().outcomes[status] ?? words().stage.done, say(words().passages, { n: passages })].join(' · '),
    )
    .join(', ');
}

/** How much has left; without a value while the service reads. @param {Upload} upload */
function renderProgress({ name, stage, sent }) {
  const value = stage === 'sending' ? sent.toFixed(3) : null;
  return element('progress', { max: '1', value, 'aria-label': name });
}

/** @param {Problem} problem */
function renderReason(problem) {
  const told = [problem.message, problem.hint].filter(Boolean).join(' ');
  return element('span', { class: 'reason', lang: told ? API_LANGUAGE : null }, told || failure(problem));
}

/** @param {DragEvent} event */
function carriesFiles(event) {
  return event.dataTransfer?.types.includes('Files') ?? false;
}

/** Files can be dropped anywhere on the page. */
function listenToDrops() {
  addEventListener('dragover', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) document.body.classList.remove('dropping');
  });
  addEventListener('drop', (event) => {
    document.body.classList.remove('dropping');
    if (!carriesFiles(event)) return;
    event.preventDefault();
    location.hash = '#documents';
    addFiles([...(event.dataTransfer?.files ?? [])]);
  });
}

export function startUploads() {
  files.addEventListener('change', () => {
    addFiles([...(files.files ?? [])]);
    files.value = '';
  });
  listenToDrops();
  whenSwitched(render);
  render();
}
