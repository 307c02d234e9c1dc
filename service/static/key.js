// The API key, where the service wants one: asked for when it is first needed, kept until the tab is closed.

import { byId } from './dom.js';
import { words } from './language.js';
import { readTab, writeTab } from './storage.js';

const NAME = 'fundstelle.key';
const dialog = byId('key', HTMLDialogElement);
const field = byId('key-field', HTMLInputElement);

// Not a button of the form: Enter presses the first of those.
byId('key-cancel', HTMLButtonElement).addEventListener('click', () => dialog.close());

/** The one question all calls wait for. @type {Promise<boolean> | null} */
let asking = null;
/** Where the browser keeps nothing. @type {string | null} */
let held = null;

/** @returns {string | null} */
export function presentKey() {
  return readTab(NAME) ?? held;
}

/** @returns {Record<string, string>} what a request carries */
export function keyHeaders() {
  const key = presentKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/**
 * Asks for a key, unless another one has come since the call that was refused.
 * @param {string | null} refused the key it was sent with
 * @returns {Promise<boolean>} whether it is worth trying again
 */
export async function anotherKey(refused) {
  if (presentKey() !== refused) return true;
  asking ??= ask(refused !== null).finally(() => (asking = null));
  return asking;
}

/** @param {boolean} again a key was tried and is wrong @returns {Promise<boolean>} */
function ask(again) {
  byId('key-text', HTMLElement).textContent = again ? words().keyWrong : words().keyText;
  field.value = '';
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    const closed = () => {
      const key = field.value.trim();
      field.value = '';
      const given = dialog.returnValue === 'yes' && /^[\x21-\x7e]+$/.test(key);
      if (given) keep(key);
      resolve(given);
    };
    dialog.addEventListener('close', closed, { once: true });
  });
}

/** @param {string} key */
function keep(key) {
  held = key;
  writeTab(NAME, key);
}
