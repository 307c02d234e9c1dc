// The chat page: asks the service, shows its citations, opens each in its source. Nothing is loaded from elsewhere.
//
// Each module keeps what it shows as plain records and draws it from them, so that a change of language only has to
// draw again.

import { isAsking } from './confirm.js';
import { startDocuments } from './documents.js';
import { byId } from './dom.js';
import { renderHistory, startHistory } from './history.js';
import { language, otherLanguage, switchLanguage, whenSwitched, words } from './language.js';
import { startSource } from './source.js';
import { showLatest, startThread } from './thread.js';
import { startUploads } from './uploads.js';

const VIEWS = /** @type {const} */ (['ask', 'documents', 'history']);
const NAMES = /** @type {const} */ ({ ask: 'viewAsk', documents: 'viewDocuments', history: 'viewHistory' });

/** Puts the chosen language into the page as it was delivered. */
function renderStrings() {
  const table = /** @type {Record<string, any>} */ (words());
  const put = (/** @type {string} */ attribute, /** @type {(node: Element, text: string) => void} */ set) => {
    for (const node of document.querySelectorAll(`[${attribute}]`)) {
      set(node, table[node.getAttribute(attribute) ?? '']);
    }
  };
  document.documentElement.lang = language();
  put('data-text', (node, text) => (node.textContent = text));
  put('data-label', (node, text) => node.setAttribute('aria-label', text));
  const other = byId('language', HTMLElement);
  other.textContent = words().otherLanguage;
  other.lang = otherLanguage();
}

/** The address says which view is shown, so that the browser's back button works. */
function shownView() {
  return VIEWS.find((view) => location.hash === `#${view}`) ?? 'ask';
}

function renderView() {
  const shown = shownView();
  for (const view of VIEWS) byId(`view-${view}`, HTMLElement).hidden = view !== shown;
  document.title = `${words()[NAMES[shown]]} · Fundstelle`;
  for (const link of document.querySelectorAll('.views a')) {
    if (link.getAttribute('href') === `#${shown}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function changeView() {
  renderView();
  if (shownView() === 'ask') showLatest();
  else scrollTo(0, 0);
}

function start() {
  whenSwitched(renderStrings);
  whenSwitched(renderView);
  renderStrings();
  renderView();
  startSource(isAsking);
  startThread(renderHistory);
  startHistory();
  startUploads();
  startDocuments();
  byId('language', HTMLElement).addEventListener('click', switchLanguage);
  addEventListener('hashchange', changeView);
}

start();
