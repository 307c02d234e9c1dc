// Elements and text. Text reaches the page as text nodes only; nothing in this folder parses HTML.

/**
 * An element of the page as it was delivered.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html lacks #${id}`);
  return found;
}

/**
 * A new element; strings among the children become text nodes.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | null | undefined>} [attributes] null and undefined are left out
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/**
 * @param {Record<string, string | null>} attributes
 * @param {string | Node} content
 * @param {() => void} onClick
 */
export function button(attributes, content, onClick) {
  const made = element('button', { type: 'button', ...attributes }, content);
  made.addEventListener('click', onClick);
  return made;
}

/** Text of others in a sentence of ours: its direction does not spill over. @param {string} text */
export function isolated(text) {
  return element('bdi', {}, text);
}

/** Says something to screen readers, without moving the focus. @param {...(Node | string)} said */
export function announce(...said) {
  byId('status', HTMLElement).replaceChildren(...said);
}

/** @param {HTMLElement} target @param {string | null} language */
export function setLanguageOf(target, language) {
  if (language) target.lang = language;
  else target.removeAttribute('lang');
}
