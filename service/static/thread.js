// The conversation: questions one below the other, each with what came of it; follow-ups carry what was searched.

import { renderAnswer, spokenAnswer } from './answer.js';
import { asProblem, askService } from './api.js';
import { enter, keep, newConversation, resumed } from './conversations.js';
import { announce, button, byId, element } from './dom.js';
import { failure, mayPass, renderProblem } from './facts.js';
import { momentText, say, sayWith, whenSwitched, words } from './language.js';
import { addOrigins } from './origins.js';
import { closeSource, markOpener } from './source.js';

/**
 * @typedef {import('./records.js').Turn} Turn
 * @typedef {import('./records.js').Conversation} Conversation
 */

const thread = byId('thread', HTMLElement);
const question = byId('question', HTMLTextAreaElement);
const composer = byId('composer', HTMLFormElement);

/** @type {Conversation} */
let current = resumed() ?? newConversation();
let asking = false;
/** @type {() => void} */
let kept = () => {};

// ---------------------------------------------------------------------------------------- Asking

/** @param {string} text */
async function ask(text) {
  /** @type {Turn} */
  const turn = { question: text, previous: lastSearched(), answer: null, problem: null, at: Date.now() };
  current.turns.push(turn);
  thread.append(renderTurn(turn, current.turns.length - 1));
  renderFrame();
  await answer(turn);
}

/** The words a follow-up carries: what was searched last, whatever came of it. */
function lastSearched() {
  const last = current.turns.findLast(({ answer }) => answer);
  return last ? (last.answer?.searched ?? last.question) : null;
}

/** @param {Turn} turn */
async function answer(turn) {
  const conversation = current;
  setAsking(true);
  turn.answer = null;
  turn.problem = null;
  turn.reopened = false;
  show(turn);
  announce(words().searching);
  try {
    const answered = await askService(turn.question, turn.previous);
    await addOrigins(answered);
    turn.answer = answered;
    turn.at = Date.now();
    keep(conversation);
    kept();
  } catch (error) {
    turn.problem = asProblem(error);
    if (!mayPass(turn.problem)) question.value ||= turn.question;
  }
  setAsking(false);
  if (conversation !== current) return;
  show(turn);
  announce(...spoken(turn));
}

/** @param {Turn} turn */
function show(turn) {
  const at = current.turns.indexOf(turn);
  thread.children[at]?.replaceWith(renderTurn(turn, at));
  thread.children[at]?.scrollIntoView({ block: 'start' });
  markOpener();
}

/** @param {boolean} now */
function setAsking(now) {
  asking = now;
  byId('send', HTMLElement).setAttribute('aria-disabled', String(now));
}

/** @param {Turn} turn @returns {(Node | string)[]} */
function spoken(turn) {
  if (turn.problem) return [failure(turn.problem), ' ', turn.problem.message];
  if (!turn.answer) return [];
  const searched = isCarried(turn)
    ? [say(words().searchedFor, { query: turn.answer.searched ?? '' }), ' ']
    : [];
  return [...searched, ...spokenAnswer(turn.answer)];
}

// --------------------------------------------------------------------------------------- Drawing

function render() {
  thread.replaceChildren(...current.turns.map(renderTurn));
  renderFrame();
  markOpener();
}

/** What is around the turns: it differs while there are none. */
function renderFrame() {
  const isEmpty = current.turns.length === 0;
  byId('view-ask', HTMLElement).classList.toggle('is-empty', isEmpty);
  byId('new-conversation', HTMLElement).hidden = isEmpty;
  question.placeholder = isEmpty ? words().questionPlaceholder : words().furtherPlaceholder;
}

/** @param {Turn} turn @param {number} at its place in the thread */
function renderTurn(turn, at) {
  const heading = element('h2', { id: `turn-${at}`, dir: 'auto' }, turn.question);
  const isPending = !turn.answer && !turn.problem;
  return element(
    'article',
    { class: 'turn', 'aria-labelledby': heading.id, 'aria-busy': String(isPending) },
    heading,
    turn.reopened
      ? element('p', { class: 'hint' }, say(words().askedAt, { when: momentText(turn.at) }))
      : null,
    isCarried(turn) ? renderSearched(turn) : null,
    ...renderOutcome(turn, heading.id),
  );
}

/** Whether something else was searched than what was asked. @param {Turn} turn */
function isCarried({ answer, question: asked }) {
  return answer?.searched !== undefined && answer.searched.trim() !== asked.trim();
}

/** What was searched, and a way to search the new words alone. @param {Turn} turn */
function renderSearched(turn) {
  const query = element('q', { dir: 'auto' }, turn.answer?.searched ?? '');
  const asked = element('bdi', { class: 'short' }, turn.question);
  const alone = element('span', {}, ...sayWith(words().searchAlone, { question: asked }));
  return element(
    'div',
    { class: 'searched' },
    element('p', {}, ...sayWith(words().searchedFor, { query })),
    button(
      { class: 'secondary small', 'aria-label': say(words().searchAlone, { question: turn.question }) },
      alone,
      () => searchAlone(turn),
    ),
  );
}

/** @param {Turn} turn */
function searchAlone(turn) {
  if (asking) return;
  turn.previous = null;
  question.focus({ preventScroll: true });
  answer(turn);
}

/** @param {Turn} turn @param {string} id @returns {HTMLElement[]} */
function renderOutcome(turn, id) {
  if (turn.problem) return [renderProblem(turn.problem, () => askAgain(turn))];
  if (!turn.answer) return [element('p', { class: 'searching' }, words().searching)];
  return renderAnswer(turn.answer, id);
}

/** @param {Turn} turn */
function askAgain(turn) {
  if (asking) return;
  question.focus();
  answer(turn);
}

// --------------------------------------------------------------------------------- Conversations

/** @param {Conversation} conversation */
export function openConversation(conversation) {
  closeSource();
  current = conversation;
  enter(conversation);
  render();
  showLatest();
}

/** The conversation that is shown, so that it is not listed as another one. */
export function currentConversation() {
  return current.id;
}

export function beginConversation() {
  closeSource();
  current = newConversation();
  enter(null);
  render();
}

/** Shows the last answer, or the question's field where there is none. */
export function showLatest() {
  const latest = thread.lastElementChild;
  if (latest) latest.scrollIntoView({ block: 'start' });
  else scrollTo(0, 0);
}

function submit() {
  const text = question.value.trim();
  if (!text || asking) return;
  question.value = '';
  ask(text);
}

/** @param {() => void} whenKept called after an answer was added to the history */
export function startThread(whenKept) {
  kept = whenKept;
  composer.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  question.addEventListener('keydown', (event) => {
    // Enter also ends the choice of a Japanese or Chinese word; that must not send the question.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    composer.requestSubmit();
  });
  byId('new-conversation', HTMLElement).addEventListener('click', () => {
    beginConversation();
    question.focus();
    announce(words().newConversationBegun);
  });
  whenSwitched(render);
  render();
  if (current.turns.length > 0) showLatest();
}
