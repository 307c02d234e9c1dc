// The view of earlier conversations: opened again, forgotten one by one or all at once.

import { confirmed } from './confirm.js';
import { conversations, forget, forgetAll, isLasting, whenChangedElsewhere } from './conversations.js';
import { announce, button, byId, element } from './dom.js';
import { renderFacts } from './facts.js';
import { momentText, say, whenSwitched, words } from './language.js';
import { beginConversation, currentConversation, openConversation } from './thread.js';

/** @typedef {import('./records.js').Conversation} Conversation */

const list = byId('history-list', HTMLElement);
const clear = byId('history-clear', HTMLElement);

export function renderHistory() {
  const all = conversations();
  list.replaceChildren(...all.map(renderConversation));
  byId('history-empty', HTMLElement).hidden = all.length > 0;
  byId('history-lost', HTMLElement).hidden = isLasting();
  clear.hidden = all.length === 0;
}

/** @param {Conversation} conversation */
function titleOf({ turns }) {
  return turns[0].question;
}

/** @param {Conversation} conversation */
function renderConversation(conversation) {
  const title = titleOf(conversation);
  const { turns } = conversation;
  const latest = turns[turns.length - 1];
  const open = button({ class: 'open', dir: 'auto' }, element('span', { class: 'clamped' }, title), () =>
    reopen(conversation),
  );
  if (conversation.id === currentConversation()) open.setAttribute('aria-current', 'true');
  const facts = renderFacts(say(words().historyCount, { n: turns.length }), momentText(latest.at));
  return element(
    'li',
    {},
    element('div', {}, open, element('p', { class: 'facts' }, ...facts)),
    button({ class: 'quiet', 'aria-label': say(words().forgetNamed, { title }) }, words().forget, () =>
      forgetOne(conversation),
    ),
  );
}

/** @param {Conversation} conversation */
function reopen(conversation) {
  openConversation(conversation);
  location.hash = '#ask';
  byId('question', HTMLElement).focus({ preventScroll: true });
  announce(say(words().historyOpened, { title: titleOf(conversation) }));
}

/** @param {Conversation} conversation */
async function forgetOne(conversation) {
  const title = titleOf(conversation);
  const { forgetAsk: ask, forgetMeans: means, forget: verb } = words();
  if (!(await confirmed({ ask, title, means, verb }))) return;
  const at = conversations().findIndex(({ id }) => id === conversation.id);
  forget(conversation.id);
  if (conversation.id === currentConversation()) beginConversation();
  renderHistory();
  focusOn(at);
  announce(say(words().forgotten, { title }));
}

async function forgetEverything() {
  const { clearAsk: ask, clearMeans: means, clear: verb } = words();
  if (!(await confirmed({ ask, means, verb }))) return;
  forgetAll();
  beginConversation();
  renderHistory();
  focusOn(0);
  announce(words().cleared);
}

/** Focuses the conversation at this place, or the last one, or the way back to asking. @param {number} at */
function focusOn(at) {
  const titles = list.querySelectorAll('.open');
  const target = titles[Math.min(at, titles.length - 1)] ?? document.querySelector('.views a');
  if (target instanceof HTMLElement) target.focus();
}

export function startHistory() {
  clear.addEventListener('click', forgetEverything);
  whenChangedElsewhere(renderHistory);
  whenSwitched(renderHistory);
  renderHistory();
}
