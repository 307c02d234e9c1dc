// The one dialog: it asks before something is deleted.

import { byId, isolated } from './dom.js';
import { sayWith } from './language.js';

const dialog = byId('confirm', HTMLDialogElement);

export function isAsking() {
  return dialog.open;
}

/**
 * @param {{ask: string, title?: string, means: string, verb: string}} what `ask` may name a {title}
 * @returns {Promise<boolean>} whether it was confirmed
 */
export function confirmed({ ask, title = '', means, verb }) {
  byId('confirm-title', HTMLElement).replaceChildren(...sayWith(ask, { title: isolated(title) }));
  byId('confirm-text', HTMLElement).textContent = means;
  byId('confirm-verb', HTMLElement).textContent = verb;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
