// What the browser keeps for the page. It may be forbidden, full or changed by another tab: nothing here throws.

/** @param {() => Storage} of @returns {Storage | null} null where the browser forbids it */
function allowed(of) {
  try {
    return of();
  } catch {
    return null;
  }
}

const lasting = allowed(() => localStorage);
const ofTab = allowed(() => sessionStorage);

/** @param {string} key @returns {string | null} */
export function read(key) {
  return readFrom(lasting, key);
}

/** @param {string} key @returns {string | null} what this tab keeps while it is open */
export function readTab(key) {
  return readFrom(ofTab, key);
}

/** @param {string} key @param {string | null} value null: remove it @returns {boolean} whether it is kept */
export function write(key, value) {
  return writeTo(lasting, key, value);
}

/** @param {string} key @param {string | null} value @returns {boolean} */
export function writeTab(key, value) {
  return writeTo(ofTab, key, value);
}

/** @param {Storage | null} storage @param {string} key */
function readFrom(storage, key) {
  try {
    return storage?.getItem(key) ?? null;
  } catch {
    return null;
  }
}

/** @param {Storage | null} storage @param {string} key @param {string | null} value */
function writeTo(storage, key, value) {
  try {
    if (value === null) storage?.removeItem(key);
    else storage?.setItem(key, value);
    return storage !== null;
  } catch {
    return false;
  }
}
