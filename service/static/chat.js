// The chat page: asks the service, shows its citations, opens each in its source.
//
// State is plain records; every piece of the page is drawn from them by a `render…` function, so
// that a change of language, or a kept history, only has to draw again. All text reaches the page
// as text nodes: nothing here parses HTML, and no address is made from a document's content.

/**
 * Offsets count Unicode code points, as everywhere in the service's contract.
 * @typedef {{start: number, end: number}} Span
 *
 * @typedef {Object} Passage
 * @property {string} document_id
 * @property {string} source
 * @property {string | null} title
 * @property {string | null} language BCP 47, for example "de"
 * @property {number} start
 * @property {number} end
 * @property {string} text
 * @property {number} score
 *
 * @typedef {Object} Citation
 * @property {number} number
 * @property {string} document_id
 * @property {string} source
 * @property {string | null} title
 * @property {string | null} language
 * @property {number} start
 * @property {number} end
 * @property {string} quote
 * @property {{start: number, end: number, text: string}} passage
 * @property {number} score
 * @property {number | null} [same_as] the citation that has these words, too
 * @property {number | null} [differs_from] a citation that says nearly the same
 *
 * @typedef {Object} Answer
 * @property {boolean} answerable
 * @property {number} confidence 0 to 1
 * @property {string | null} answer
 * @property {Citation[]} citations
 * @property {Passage[]} [closest]
 *
 * @typedef {Object} DocumentRecord
 * @property {string} id
 * @property {string} source
 * @property {string | null} title
 * @property {string | null} language
 * @property {number} characters
 * @property {number} passages
 * @property {string} [status]
 *
 * @typedef {{documents: DocumentRecord[], next_cursor: string | null}} DocumentPage
 *
 * One question and what came of it: an answer, a problem, or neither yet.
 * @typedef {{question: string, answer: Answer | null, problem: Problem | null}} Turn
 *
 * A place in a document that the source panel can show.
 * @typedef {Object} Place
 * @property {string} key identifies the button that opens it
 * @property {"citation" | "closest" | "document"} kind
 * @property {string} label the number or letter on its button
 * @property {string} documentId
 * @property {string} source
 * @property {string | null} title
 * @property {string | null} language
 * @property {number | null} score
 * @property {Span | null} marked what is highlighted
 * @property {string} expected the text that must stand there
 * @property {Span | null} around the passage that is tinted
 *
 * The source panel's content; `before` and `after` say how much is drawn either side of the
 * highlight, in UTF-16 units.
 * @typedef {Object} OpenSource
 * @property {Place} place
 * @property {string | null} text
 * @property {Problem | null} problem
 * @property {number} before
 * @property {number} after
 *
 * @typedef {Object} Upload
 * @property {string} name
 * @property {"waiting" | "sending" | "done" | "failed"} stage
 * @property {DocumentRecord[]} documents
 * @property {Problem | null} problem
 *
 * @typedef {typeof STRINGS.en} Words
 */

// ---------------------------------------------------------------------------------------- Strings

const STRINGS = {
  en: {
    otherLanguage: 'Deutsch',
    navigation: 'Views',
    viewAsk: 'Ask',
    viewDocuments: 'Documents',
    headline: 'What do the documents say?',
    promise: 'Every answer is a verbatim quote. Its number opens the place it comes from.',
    noDocuments: 'There are no documents yet.',
    addSome: 'Add some',
    question: 'Question',
    questionPlaceholder: 'Ask in any language',
    send: 'Ask',
    composerHint: 'Enter asks, Shift+Enter starts a new line.',
    searching: 'Searching the documents …',
    answered: ['Answer with 1 quote.', 'Answer with {n} quotes.'],
    citations: 'Citations',
    sameAs: 'The same words as in {n}, in another document.',
    differsFrom: 'Differs from {n}: compare the two.',
    confidence: ['Very sure', 'Fairly sure', 'Rather unsure', 'Unsure'],
    confidenceTitle: 'Probability that the documents answer this: {p}',
    notAnswered: 'The documents do not say.',
    notAnsweredWeak: 'The documents probably do not say.',
    closest: 'Nearest, but not an answer',
    openCitation: 'Open citation {n} in “{title}”',
    openClosest: 'Open nearest passage {n} in “{title}”',
    kind: {
      citation: 'Citation {n}',
      closest: 'Nearest, but not an answer',
      document: '',
    },
    passage: 'Passage',
    score: 'Score {n}',
    close: 'Close',
    sourceText: 'Text of the document',
    loading: 'Opening …',
    earlier: 'Show earlier text',
    later: 'Show later text',
    markBegins: ' [highlight begins] ',
    markEnds: ' [highlight ends] ',
    moved: 'The document has changed since this answer: these words no longer stand at this place.',
    chooseFiles: 'Choose files',
    orDrop: 'or drop them here: text (.txt) and Markdown (.md)',
    dropNow: 'Drop the files to add them',
    uploads: 'Uploads',
    stage: { waiting: 'Waiting', sending: 'Adding …', done: 'Added', failed: 'Not added' },
    /** @type {Record<string, string>} What became of an added file, by the API's `status`. */
    outcomes: { updated: 'Updated', unchanged: 'Already there, unchanged' },
    uploadsDone: '{done} of {all} files added.',
    libraryEmpty: 'Nothing here yet.',
    more: 'Show more',
    characters: '{n} characters',
    passages: ['1 passage', '{n} passages'],
    remove: 'Remove',
    removeNamed: 'Remove “{title}”',
    removeAsk: 'Remove “{title}”?',
    removeMeans: 'Its text is deleted here; answers no longer rest on it.',
    removed: '“{title}” was removed.',
    cancel: 'Cancel',
    again: 'Try again',
    failed: 'That did not work.',
    /** @type {Record<string, string>} What went wrong, by HTTP status; 0 means no reply at all. */
    failures: {
      0: 'The service cannot be reached.',
      404: 'This is no longer there.',
      413: 'This is too large.',
      415: 'This kind of file cannot be read.',
      429: 'Too many questions at once. Please wait a moment.',
      500: 'The service has made a mistake.',
      503: 'The service is not ready yet.',
      504: 'The service took too long.',
    },
  },
  de: {
    otherLanguage: 'English',
    navigation: 'Ansichten',
    viewAsk: 'Fragen',
    viewDocuments: 'Dokumente',
    headline: 'Was steht in den Dokumenten?',
    promise:
      'Jede Antwort ist ein wörtliches Zitat. Seine Nummer öffnet die Stelle, an der es steht.',
    noDocuments: 'Es gibt noch keine Dokumente.',
    addSome: 'Dokumente hinzufügen',
    question: 'Frage',
    questionPlaceholder: 'Frage in jeder Sprache',
    send: 'Fragen',
    composerHint: 'Enter stellt die Frage, Umschalt+Enter beginnt eine neue Zeile.',
    searching: 'Suche in den Dokumenten …',
    answered: ['Antwort mit 1 Zitat.', 'Antwort mit {n} Zitaten.'],
    citations: 'Fundstellen',
    sameAs: 'Dieselben Worte wie in {n}, in einem anderen Dokument.',
    differsFrom: 'Weicht von {n} ab: bitte vergleichen.',
    confidence: ['Sehr sicher', 'Ziemlich sicher', 'Eher unsicher', 'Unsicher'],
    confidenceTitle: 'Wahrscheinlichkeit, dass die Dokumente das beantworten: {p}',
    notAnswered: 'Das steht nicht in den Dokumenten.',
    notAnsweredWeak: 'Das steht wahrscheinlich nicht in den Dokumenten.',
    closest: 'Am nächsten, aber keine Antwort',
    openCitation: 'Fundstelle {n} in „{title}“ öffnen',
    openClosest: 'Nächstliegende Stelle {n} in „{title}“ öffnen',
    kind: {
      citation: 'Fundstelle {n}',
      closest: 'Am nächsten, aber keine Antwort',
      document: '',
    },
    passage: 'Textstelle',
    score: 'Wertung {n}',
    close: 'Schließen',
    sourceText: 'Text des Dokuments',
    loading: 'Wird geöffnet …',
    earlier: 'Früheren Text zeigen',
    later: 'Weiteren Text zeigen',
    markBegins: ' [Hervorhebung beginnt] ',
    markEnds: ' [Hervorhebung endet] ',
    moved:
      'Das Dokument hat sich seit dieser Antwort geändert: An dieser Stelle stehen andere Worte.',
    chooseFiles: 'Dateien auswählen',
    orDrop: 'oder hier ablegen: Text (.txt) und Markdown (.md)',
    dropNow: 'Dateien hier ablegen',
    uploads: 'Hochgeladene Dateien',
    stage: {
      waiting: 'Wartet',
      sending: 'Wird aufgenommen …',
      done: 'Aufgenommen',
      failed: 'Nicht aufgenommen',
    },
    outcomes: { updated: 'Aktualisiert', unchanged: 'Unverändert vorhanden' },
    uploadsDone: '{done} von {all} Dateien aufgenommen.',
    libraryEmpty: 'Noch nichts vorhanden.',
    more: 'Mehr anzeigen',
    characters: '{n} Zeichen',
    passages: ['1 Textstelle', '{n} Textstellen'],
    remove: 'Entfernen',
    removeNamed: '„{title}“ entfernen',
    removeAsk: '„{title}“ entfernen?',
    removeMeans: 'Der Text wird hier gelöscht; Antworten stützen sich nicht mehr darauf.',
    removed: '„{title}“ wurde entfernt.',
    cancel: 'Abbrechen',
    again: 'Noch einmal versuchen',
    failed: 'Das hat nicht geklappt.',
    failures: {
      0: 'Der Dienst ist nicht zu erreichen.',
      404: 'Das ist nicht mehr vorhanden.',
      413: 'Das ist zu groß.',
      415: 'Diese Art von Datei kann nicht gelesen werden.',
      429: 'Zu viele Fragen auf einmal. Bitte einen Augenblick warten.',
      500: 'Der Dienst hat einen Fehler gemacht.',
      503: 'Der Dienst ist noch nicht bereit.',
      504: 'Der Dienst hat zu lange gebraucht.',
    },
  },
};

/**
 * A string of the table with its {names} filled in.
 * @param {string | string[]} template where the number n changes the words: for one, for several
 * @param {Record<string, string | number>} values
 */
function say(template, values) {
  const chosen = Array.isArray(template) ? template[values.n === 1 ? 0 : 1] : template;
  return chosen.replace(/\{(\w+)\}/gu, (_, name) => {
    const value = values[name];
    return typeof value === 'number' ? number(value) : value;
  });
}

/** Lower bounds of the confidence words above; the last word has none. */
const CONFIDENCE_STEPS = [0.9, 0.7, 0.5];
/** Below this, an answer "not in the documents" is said without "probably". */
const CERTAINLY_NOT = 0.2;
/** The service's error messages are English. */
const API_LANGUAGE = 'en';
const PAGE_SIZE = 50;
/** How much of a source is drawn at once, either side of the highlight, in UTF-16 units. */
const STRETCH = 25_000;
const LANGUAGE_KEY = 'fundstelle.language';
/** Where the source is a sheet over the page; the same width stands in chat.css. */
const SHEET = window.matchMedia('not all and (min-width: 64rem)');

// ------------------------------------------------------------------------------------------ State

const state = {
  /** @type {"de" | "en"} */
  language: chosenLanguage(),
  /** @type {Turn[]} */
  turns: [],
  asking: false,
  /** @type {DocumentRecord[]} */
  documents: [],
  /** @type {string | null} */
  nextCursor: null,
  /** @type {Problem | null} */
  documentsProblem: null,
  documentsKnown: false,
  /** @type {Upload[]} */
  uploads: [],
  /** @type {OpenSource | null} */
  source: null,
};

/** @type {Words} */
let words = STRINGS[state.language];

// -------------------------------------------------------------------------------------------- API

/** What the API, or the way to it, says went wrong. `status` 0: no reply came. */
class Problem extends Error {
  /** @param {number} status @param {string} message @param {string} [hint] */
  constructor(status, message = '', hint = '') {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

const api = {
  /** @param {string} question @returns {Promise<Answer>} */
  ask: async (question) => (await request('/v1/ask', postJson({ question }))).json(),

  /** @param {string | null} cursor @returns {Promise<DocumentPage>} */
  async documents(cursor) {
    const query = new URLSearchParams({ limit: String(PAGE_SIZE) });
    if (cursor) query.set('cursor', cursor);
    return (await request(`/v1/documents?${query}`)).json();
  },

  /** @param {string} id @param {AbortSignal} signal @returns {Promise<string>} */
  async text(id, signal) {
    const response = await request(`${documentPath(id)}/text`, { signal });
    // response.text() would drop a leading byte order mark, and every offset would be one too far.
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(await response.arrayBuffer());
  },

  /** @param {File} file @returns {Promise<{documents: DocumentRecord[]}>} */
  async upload(file) {
    const body = new FormData();
    body.append('file', file, file.name);
    return (await request('/v1/documents', { method: 'POST', body })).json();
  },

  /** @param {string} id */
  remove: (id) => request(documentPath(id), { method: 'DELETE' }),
};

/** @param {string} id */
function documentPath(id) {
  return `/v1/documents/${encodeURIComponent(id)}`;
}

/** @param {unknown} body @returns {RequestInit} */
function postJson(body) {
  return {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  };
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} a successful response
 * @throws {Problem} for every other
 */
async function request(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    throw new Problem(0);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Problem(response.status, asText(body?.error?.message), asText(body?.error?.hint));
}

/** @param {unknown} value */
function asText(value) {
  return typeof value === 'string' ? value : '';
}

/** @param {unknown} error @returns {Problem} */
function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem(-1);
}

// ------------------------------------------------------------------------------- Elements and text

/**
 * An element of the page as it was delivered.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function byId(id, type) {
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
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/**
 * @param {Record<string, string | null>} attributes
 * @param {string} text
 * @param {() => void} onClick
 */
function button(attributes, text, onClick) {
  const made = element('button', { type: 'button', ...attributes }, text);
  made.addEventListener('click', onClick);
  return made;
}

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
function number(value, options) {
  return new Intl.NumberFormat(state.language, options).format(value);
}

/** A language's name, or its code where it has none. @param {string | null} code */
function languageName(code) {
  if (!code || code === 'und') return '';
  try {
    return new Intl.DisplayNames([state.language], { type: 'language' }).of(code) ?? code;
  } catch {
    return code;
  }
}

/** @param {{title: string | null, source: string}} record */
function titleOf(record) {
  return record.title || record.source;
}

/**
 * Where code points begin in a JavaScript string, which counts UTF-16 units.
 * @param {string} text
 * @param {number[]} offsets in code points, ascending
 * @returns {number[]} in UTF-16 units
 */
function toUtf16(text, offsets) {
  let unit = 0;
  let point = 0;
  return offsets.map((offset) => {
    for (; point < offset && unit < text.length; point += 1) {
      unit += /** @type {number} */ (text.codePointAt(unit)) > 0xffff ? 2 : 1;
    }
    return unit;
  });
}

/**
 * A stretch of the text with one part marked inside another that is tinted.
 * @param {string} text
 * @param {Span} marked
 * @param {Span} around
 * @param {number} from first UTF-16 unit to draw
 * @param {number} to
 * @returns {Node[]}
 */
function markedText(text, marked, around, from = 0, to = text.length) {
  const [a, b, c, d] = toUtf16(text, [
    Math.min(around.start, marked.start),
    marked.start,
    marked.end,
    Math.max(around.end, marked.end),
  ]);
  const spoken = { 'data-begins': words.markBegins, 'data-ends': words.markEnds };
  const mark = element('mark', spoken, asLines(text.slice(b, c)));
  const before = asLines(text.slice(a, b));
  const after = asLines(text.slice(c, d));
  return [
    new Text(asLines(text.slice(from, a))),
    element('span', { class: 'around' }, before, mark, after),
    new Text(asLines(text.slice(d, to))),
  ];
}

/** A lone carriage return would not break the line. @param {string} text */
function asLines(text) {
  return text.replace(/\r\n?/g, '\n');
}

/** Says something to screen readers, without moving the focus. @param {...(Node | string)} said */
function announce(...said) {
  byId('status', HTMLElement).replaceChildren(...said);
}

// --------------------------------------------------------------------------- Problems and facts

/** What failed, in plain words. @param {Problem} problem */
function failure({ status }) {
  return words.failures[String(status)] ?? words.failed;
}

/** Whether the same request may well succeed the next time. @param {Problem} problem */
function mayPass({ status }) {
  return status === 0 || status === 429 || status >= 500;
}

/** @param {Problem} problem @param {() => void} again offered where it may help */
function renderProblem(problem, again) {
  return element(
    'div',
    { class: 'problem' },
    element('strong', {}, failure(problem)),
    problem.message ? element('p', { lang: API_LANGUAGE }, problem.message) : null,
    problem.hint ? element('p', { lang: API_LANGUAGE }, problem.hint) : null,
    mayPass(problem) ? button({ class: 'secondary' }, words.again, again) : null,
  );
}

/** @param {{title: string | null, source: string, language: string | null}} record */
function renderTitle(record) {
  return element(
    'span',
    {},
    element('cite', { lang: record.language, dir: 'auto' }, titleOf(record)),
  );
}

/**
 * Source, language, score: what is known of a document or a place in it.
 * @param {{title: string | null, source: string, language: string | null}} record
 * @param {string[]} more
 * @returns {(Node | string)[]}
 */
function renderFacts(record, ...more) {
  const source = record.title && record.title !== record.source ? record.source : '';
  return [source, languageName(record.language), ...more]
    .filter((fact) => fact !== '')
    .flatMap((fact) => [' ', element('span', {}, fact)]);
}

/** @param {number | null} score */
function scoreFact(score) {
  if (score === null) return '';
  const n = number(score, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return say(words.score, { n });
}

// ------------------------------------------------------------------------------------- Asking

const thread = byId('thread', HTMLElement);
const question = byId('question', HTMLTextAreaElement);

/** @param {string} text */
async function ask(text) {
  const turn = { question: text, answer: null, problem: null };
  state.turns.push(turn);
  renderThread();
  await answerTurn(turn);
}

/** @param {Turn} turn */
async function answerTurn(turn) {
  setAsking(true);
  turn.problem = null;
  showTurn(turn);
  announce(words.searching);
  try {
    turn.answer = await api.ask(turn.question);
  } catch (error) {
    turn.problem = asProblem(error);
    if (!mayPass(turn.problem)) question.value ||= turn.question;
  }
  setAsking(false);
  showTurn(turn);
  announceTurn(turn);
}

/** @param {Turn} turn */
function showTurn(turn) {
  const at = state.turns.indexOf(turn);
  thread.children[at]?.replaceWith(renderTurn(turn, at));
  thread.children[at]?.scrollIntoView({ block: 'start' });
  markOpener();
}

/** @param {boolean} asking */
function setAsking(asking) {
  state.asking = asking;
  const send = byId('composer', HTMLFormElement).querySelector('[type=submit]');
  send?.setAttribute('aria-disabled', String(asking));
}

/** @param {Turn} turn */
function announceTurn(turn) {
  if (turn.problem) {
    announce(failure(turn.problem), ' ', turn.problem.message);
  } else if (turn.answer?.answerable) {
    const quotes = turn.answer.citations.map((citation) =>
      element('span', { lang: citation.language }, ` ${citation.number}: ${citation.quote}`),
    );
    announce(
      say(words.answered, { n: quotes.length }),
      ' ',
      confidenceWord(turn.answer.confidence),
      ...quotes,
    );
  } else if (turn.answer) {
    announce(verdict(turn.answer));
  }
}

function renderThread() {
  byId('view-ask', HTMLElement).classList.toggle('is-empty', state.turns.length === 0);
  byId('no-documents', HTMLElement).hidden = !state.documentsKnown || state.documents.length > 0;
  thread.replaceChildren(...state.turns.map(renderTurn));
  markOpener();
}

/** @param {Turn} turn @param {number} at its place in the thread */
function renderTurn(turn, at) {
  const heading = element('h2', { id: `turn-${at}`, dir: 'auto' }, turn.question);
  return element(
    'article',
    { class: 'turn', 'aria-labelledby': heading.id, 'aria-busy': String(isPending(turn)) },
    heading,
    ...renderOutcome(turn, at),
  );
}

/** @param {Turn} turn */
function isPending(turn) {
  return !turn.answer && !turn.problem;
}

/** @param {Turn} turn @param {number} at @returns {HTMLElement[]} */
function renderOutcome(turn, at) {
  if (turn.problem) return [renderProblem(turn.problem, () => askAgain(turn))];
  if (!turn.answer) return [element('p', { class: 'searching' }, words.searching)];
  return turn.answer.answerable ? renderAnswer(turn.answer, at) : renderNoAnswer(turn.answer, at);
}

/** @param {Turn} turn */
function askAgain(turn) {
  if (state.asking) return;
  question.focus();
  answerTurn(turn);
}

/** @param {Answer} answer @param {number} at @returns {HTMLElement[]} */
function renderAnswer(answer, at) {
  const places = answer.citations.map((citation) => placeOfCitation(citation, at));
  const quotes = answer.citations.map((citation, i) => renderCitation(citation, places[i]));
  return [
    renderConfidence(answer.confidence),
    ...(isVerbatim(answer) ? [] : [renderWritten(answer, places)]),
    element('ol', { class: 'places', role: 'list', 'aria-label': words.citations }, ...quotes),
  ];
}

/**
 * Whether the answer only repeats its quotes, so that showing both would say everything twice.
 * @param {Answer} answer
 */
function isVerbatim({ answer, citations }) {
  const rest = citations.reduce((text, { quote }) => text.replace(quote, ''), answer ?? '');
  return /^(\s|\[\d+\]|…)*$/u.test(rest);
}

/**
 * A written answer, its `[n]` made into buttons.
 * @param {Answer} answer
 * @param {Place[]} places
 */
function renderWritten(answer, places) {
  const parts = (answer.answer ?? '').split(/\[(\d+)\]/u).map((part, i) => {
    const place = i % 2 === 1 ? places.find(({ label }) => label === part) : undefined;
    if (place) return renderChip({ ...place, key: `${place.key}-text-${i}` });
    return i % 2 === 1 ? `[${part}]` : part;
  });
  return element('p', { class: 'written', dir: 'auto' }, ...parts);
}

/** @param {Answer} answer */
function verdict(answer) {
  return answer.confidence < CERTAINLY_NOT ? words.notAnswered : words.notAnsweredWeak;
}

/** @param {Answer} answer @param {number} at @returns {HTMLElement[]} */
function renderNoAnswer(answer, at) {
  const said = element(
    'p',
    { class: 'verdict', title: say(words.confidenceTitle, { p: percent(answer.confidence) }) },
    verdict(answer),
  );
  const closest = answer.closest ?? [];
  if (closest.length === 0) return [said];
  const heading = element('h3', { id: `closest-${at}` }, words.closest);
  const items = closest.map((passage, i) => renderClosest(passage, placeOfPassage(passage, at, i)));
  const list = element(
    'ol',
    { class: 'places', role: 'list', 'aria-labelledby': heading.id },
    ...items,
  );
  return [said, element('div', { class: 'closest' }, heading, list)];
}

/** @param {number} confidence */
function confidenceStep(confidence) {
  const step = CONFIDENCE_STEPS.findIndex((bound) => confidence >= bound);
  return step < 0 ? CONFIDENCE_STEPS.length : step;
}

/** @param {number} confidence */
function confidenceWord(confidence) {
  return words.confidence[confidenceStep(confidence)];
}

/** Never rounded up: 100 % is said only of certainty. @param {number} share 0 to 1 */
function percent(share) {
  return number(share, { style: 'percent', maximumFractionDigits: 0, roundingMode: 'trunc' });
}

/** @param {number} confidence */
function renderConfidence(confidence) {
  const lit = words.confidence.length - confidenceStep(confidence);
  const steps = words.confidence.map((_, i) => element('i', { class: i < lit ? 'on' : null }));
  return element(
    'p',
    { class: 'confidence', title: say(words.confidenceTitle, { p: percent(confidence) }) },
    element('span', { class: 'steps', 'aria-hidden': 'true' }, ...steps),
    element('strong', {}, confidenceWord(confidence)),
    element('span', {}, percent(confidence)),
  );
}

/** @param {Citation} citation @param {Place} place */
function renderCitation(citation, place) {
  return renderPlace(
    place,
    element('blockquote', { lang: citation.language, dir: 'auto' }, citation.quote),
    renderRelation(citation),
    renderPassage(citation),
  );
}

/**
 * How a citation relates to a better one of another document.
 * @param {Citation} citation
 * @returns {HTMLElement | null}
 */
function renderRelation({ same_as: same, differs_from: other }) {
  if (same) return element('p', { class: 'relation' }, say(words.sameAs, { n: same }));
  return other ? element('p', { class: 'relation' }, say(words.differsFrom, { n: other })) : null;
}

/** @param {Passage} passage @param {Place} place */
function renderClosest(passage, place) {
  return renderPlace(
    place,
    element('blockquote', { lang: passage.language, dir: 'auto' }, passage.text),
  );
}

/**
 * A card: its number, the words, where they stand. The number is its button; a click anywhere on it
 * does the same, unless it selects text or meets another control.
 * @param {Place} place
 * @param {HTMLElement} quote
 * @param {...(HTMLElement | null)} more what else there is to say or to open
 */
function renderPlace(place, quote, ...more) {
  const caption = element(
    'figcaption',
    { class: 'facts' },
    renderTitle(place),
    ...renderFacts(place, scoreFact(place.score)),
  );
  const body = element('div', {}, element('figure', {}, quote, caption), ...more);
  const card = element('li', { class: 'place' }, renderChip(place), body);
  card.addEventListener('click', (event) => {
    const onControl = event.target instanceof Element && event.target.closest('button, details');
    if (!onControl && getSelection()?.isCollapsed !== false) openSource(place);
  });
  return card;
}

/** @param {Place} place */
function renderChip(place) {
  const template = place.kind === 'citation' ? words.openCitation : words.openClosest;
  const name = say(template, { n: place.label, title: titleOf(place) });
  return button({ class: 'chip', 'data-place': place.key, 'aria-label': name }, place.label, () =>
    openSource(place),
  );
}

/** @param {Citation} citation */
function renderPassage({ start, end, passage, language }) {
  const from = passage.start;
  const inside = { start: start - from, end: end - from };
  const nodes = markedText(passage.text, inside, { start: 0, end: passage.end - from });
  return element(
    'details',
    { class: 'passage' },
    element('summary', {}, words.passage),
    element('p', { lang: language, dir: 'auto' }, ...nodes),
  );
}

// -------------------------------------------------------------------------------- Places, source

/** @param {Citation} citation @param {number} at @returns {Place} */
function placeOfCitation(citation, at) {
  return {
    ...documentOf(citation),
    key: `turn-${at}-citation-${citation.number}`,
    kind: 'citation',
    label: String(citation.number),
    marked: { start: citation.start, end: citation.end },
    expected: citation.quote,
    around: citation.passage,
  };
}

/** @param {Passage} passage @param {number} at @param {number} rank @returns {Place} */
function placeOfPassage(passage, at, rank) {
  return {
    ...documentOf(passage),
    key: `turn-${at}-closest-${rank}`,
    kind: 'closest',
    label: String.fromCharCode(97 + (rank % 26)),
    marked: passage,
    expected: passage.text,
    around: passage,
  };
}

/** @param {DocumentRecord} record @returns {Place} */
function placeOfDocument(record) {
  return {
    documentId: record.id,
    source: record.source,
    title: record.title,
    language: record.language,
    score: null,
    key: `document-${record.id}`,
    kind: 'document',
    label: '',
    marked: null,
    expected: '',
    around: null,
  };
}

/** @param {Pick<Passage, "document_id" | "source" | "title" | "language" | "score">} record */
function documentOf({ document_id, source, title, language, score }) {
  return { documentId: document_id, source, title, language, score };
}

const panel = byId('source', HTMLElement);
const panelText = byId('source-text', HTMLElement);
let opening = new AbortController();

/** @param {Place} place */
async function openSource(place) {
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  /** @type {OpenSource} */
  const open = { place, text: null, problem: null, before: STRETCH, after: STRETCH };
  state.source = open;
  renderSource();
  byId('source-title', HTMLElement).focus({ preventScroll: true });
  try {
    open.text = await api.text(place.documentId, signal);
  } catch (error) {
    if (!signal.aborted) open.problem = asProblem(error);
  }
  if (!signal.aborted) renderSource();
}

/** Closes the source and gives the focus back to what opened it. */
function closeSource() {
  if (!state.source) return;
  const { key } = state.source.place;
  opening.abort();
  state.source = null;
  renderSource();
  const opener = openersOf(key)[0];
  if (opener instanceof HTMLElement && opener.offsetParent) opener.focus();
  else if (byId('view-ask', HTMLElement).hidden) files.focus();
  else question.focus();
}

/** @param {string} key */
function openersOf(key) {
  return document.querySelectorAll(`[data-place="${CSS.escape(key)}"]`);
}

/** Shows which number the open source belongs to. */
function markOpener() {
  for (const old of document.querySelectorAll('[data-place][aria-current]')) {
    old.removeAttribute('aria-current');
  }
  if (!state.source) return;
  for (const opener of openersOf(state.source.place.key))
    opener.setAttribute('aria-current', 'true');
}

function renderSource() {
  const open = state.source;
  panel.hidden = !open;
  document.body.classList.toggle('has-source', open !== null);
  coverPage();
  markOpener();
  if (!open) return panelText.replaceChildren();
  renderSourceHead(open.place);
  renderSourceText(open);
}

/** On narrow windows the sheet hides the page, so the page must not take the focus either. */
function coverPage() {
  const covered = state.source !== null && SHEET.matches;
  for (const id of ['top', 'main']) byId(id, HTMLElement).inert = covered;
}

/** @param {Place} place */
function renderSourceHead(place) {
  const title = byId('source-title', HTMLElement);
  title.textContent = titleOf(place);
  setLanguage(title, place.language);
  byId('source-kind', HTMLElement).textContent = say(words.kind[place.kind], { n: place.label });
  byId('source-facts', HTMLElement).replaceChildren(...renderFacts(place, scoreFact(place.score)));
}

/** @param {HTMLElement} target @param {string | null} language */
function setLanguage(target, language) {
  if (language) target.lang = language;
  else target.removeAttribute('lang');
}

/** @param {OpenSource} open */
function renderSourceText(open) {
  const { place, text, problem } = open;
  const problems = byId('source-problem', HTMLElement);
  problems.replaceChildren(...(problem ? [renderProblem(problem, () => openSource(place))] : []));
  panelText.setAttribute('aria-busy', String(text === null && !problem));
  setLanguage(panelText, text === null ? null : place.language);
  if (text === null) return panelText.replaceChildren(problem ? '' : words.loading);
  const stands = stillStands(place, text);
  if (!stands) problems.append(element('p', { class: 'notice', role: 'alert' }, words.moved));
  drawText(open, text, stands ? place.marked : null);
  scrollToMark();
}

/**
 * Whether the words to be highlighted are where the answer found them.
 * @param {Place} place
 * @param {string} text
 */
function stillStands({ marked, expected }, text) {
  if (!marked) return true;
  const [start, end] = toUtf16(text, [marked.start, marked.end]);
  return text.slice(start, end) === expected;
}

/**
 * Draws the text around the highlight, or from its beginning. Browsers lay out a paragraph of
 * megabytes in minutes, so the rest waits behind two buttons.
 * @param {OpenSource} open
 * @param {string} text
 * @param {Span | null} marked
 */
function drawText(open, text, marked) {
  const [start, end] = toUtf16(text, marked ? [marked.start, marked.end] : [0, 0]);
  const from = wholeFrom(text, start - open.before);
  const to = wholeFrom(text, end + open.after);
  const shown = marked
    ? markedText(text, marked, open.place.around ?? marked, from, to)
    : [asLines(text.slice(from, to))];
  const more = (/** @type {"before" | "after"} */ side, /** @type {string} */ name) =>
    button({ class: 'secondary', lang: state.language }, name, () => {
      showMore(open, side, () => drawText(open, text, marked));
    });
  panelText.replaceChildren(
    from > 0 ? more('before', words.earlier) : '',
    ...shown,
    to < text.length ? more('after', words.later) : '',
  );
}

/**
 * The offset inside the text, and not inside a surrogate pair.
 * @param {string} text
 * @param {number} offset
 */
function wholeFrom(text, offset) {
  const kept = Math.max(0, Math.min(offset, text.length));
  return /[\uDC00-\uDFFF]/.test(text.charAt(kept)) ? kept - 1 : kept;
}

/**
 * Draws more of the text, while what is being read stays where it is.
 * @param {OpenSource} open
 * @param {"before" | "after"} side
 * @param {() => void} draw
 */
function showMore(open, side, draw) {
  const { scrollTop, scrollHeight } = panelText;
  open[side] += STRETCH;
  draw();
  const grown = side === 'before' ? panelText.scrollHeight - scrollHeight : 0;
  panelText.scrollTop = scrollTop + grown;
  panelText.focus({ preventScroll: true });
}

/** Puts the highlight a third down the panel; the page stays. */
function scrollToMark() {
  panelText.scrollTop = 0;
  const mark = panelText.querySelector('mark');
  if (!mark) return;
  const above = mark.getBoundingClientRect().top - panelText.getBoundingClientRect().top;
  panelText.scrollTop = above - panelText.clientHeight / 3;
}

// ------------------------------------------------------------------------------------- Documents

/** Loads the first page of the list. */
async function loadDocuments() {
  try {
    const page = await api.documents(null);
    state.documents = page.documents;
    state.nextCursor = page.next_cursor ?? null;
    state.documentsProblem = null;
    state.documentsKnown = true;
  } catch (error) {
    state.documentsProblem = asProblem(error);
  }
  renderDocuments();
  byId('no-documents', HTMLElement).hidden = !state.documentsKnown || state.documents.length > 0;
}

/** Loads the next page and moves the focus to its first document. */
async function loadMore() {
  const before = state.documents.length;
  try {
    const page = await api.documents(state.nextCursor);
    state.documents.push(...page.documents);
    state.nextCursor = page.next_cursor ?? null;
    state.documentsProblem = null;
  } catch (error) {
    state.documentsProblem = asProblem(error);
  }
  renderDocuments();
  focusDocument(before);
}

function renderDocuments() {
  const { documents, documentsProblem: problem } = state;
  byId('document-list', HTMLElement).replaceChildren(...documents.map(renderDocument));
  byId('library-problem', HTMLElement).replaceChildren(
    ...(problem ? [renderProblem(problem, loadDocuments)] : []),
  );
  byId('library-empty', HTMLElement).hidden = !state.documentsKnown || documents.length > 0;
  byId('more', HTMLElement).hidden = state.nextCursor === null;
  markOpener();
}

/** @param {DocumentRecord} record */
function renderDocument(record) {
  const place = placeOfDocument(record);
  const facts = renderFacts(
    record,
    say(words.characters, { n: record.characters }),
    say(words.passages, { n: record.passages }),
  );
  const title = titleOf(record);
  return element(
    'li',
    {},
    element(
      'div',
      {},
      button(
        { class: 'open', 'data-place': place.key, lang: record.language, dir: 'auto' },
        title,
        () => openSource(place),
      ),
      element('p', { class: 'facts' }, ...facts),
    ),
    button({ class: 'quiet', 'aria-label': say(words.removeNamed, { title }) }, words.remove, () =>
      removeDocument(record),
    ),
  );
}

/** Focuses the document at this place in the list, or the last one. @param {number} at */
function focusDocument(at) {
  const titles = byId('document-list', HTMLElement).querySelectorAll('.open');
  const target = titles[Math.min(at, titles.length - 1)] ?? byId('files', HTMLElement);
  if (target instanceof HTMLElement) target.focus();
}

/** @param {DocumentRecord} record */
async function removeDocument(record) {
  if (!(await confirmed(say(words.removeAsk, { title: titleOf(record) })))) return;
  const at = state.documents.indexOf(record);
  try {
    await removeIfThere(record.id);
    state.documents = state.documents.filter(({ id }) => id !== record.id);
    state.documentsProblem = null;
    if (state.source?.place.documentId === record.id) closeSource();
    announce(say(words.removed, { title: titleOf(record) }));
  } catch (error) {
    state.documentsProblem = asProblem(error);
  }
  renderDocuments();
  focusDocument(at);
}

/** Removed by someone else is removed as well. @param {string} id */
async function removeIfThere(id) {
  try {
    await api.remove(id);
  } catch (error) {
    if (asProblem(error).status !== 404) throw error;
  }
}

/** @param {string} asked @returns {Promise<boolean>} */
function confirmed(asked) {
  const dialog = byId('confirm', HTMLDialogElement);
  byId('confirm-title', HTMLElement).textContent = asked;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'remove'), {
      once: true,
    });
  });
}

// --------------------------------------------------------------------------------------- Uploads

const files = byId('files', HTMLInputElement);

/** Sends the files one by one, so that each has its own result. @param {File[]} chosen */
async function addFiles(chosen) {
  if (chosen.length === 0) return;
  const uploads = chosen.map((file) => newUpload(file.name));
  state.uploads = [...uploads, ...state.uploads];
  renderUploads();
  for (const [i, upload] of uploads.entries()) await addFile(upload, chosen[i]);
  const done = uploads.filter(({ stage }) => stage === 'done').length;
  announce(say(words.uploadsDone, { done, all: uploads.length }));
  await loadDocuments();
}

/** @param {string} name @returns {Upload} */
function newUpload(name) {
  return { name, stage: 'waiting', documents: [], problem: null };
}

/** @param {Upload} upload @param {File} file */
async function addFile(upload, file) {
  upload.stage = 'sending';
  renderUploads();
  try {
    if (!isReadable(file.name)) throw new Problem(415);
    upload.documents = (await api.upload(file)).documents;
    upload.stage = 'done';
  } catch (error) {
    upload.problem = asProblem(error);
    upload.stage = 'failed';
  }
  renderUploads();
}

/** The kinds of file the input offers are the kinds that are sent. @param {string} name */
function isReadable(name) {
  return files.accept.split(',').some((ending) => name.toLowerCase().endsWith(ending.trim()));
}

function renderUploads() {
  const list = byId('uploads', HTMLElement);
  list.hidden = state.uploads.length === 0;
  list.replaceChildren(...state.uploads.map(renderUpload));
}

/** @param {Upload} upload */
function renderUpload({ name, stage, documents, problem }) {
  const sign = { waiting: '·', sending: '…', done: '✓', failed: '!' }[stage];
  const told = documents.map(({ status = '', passages }) =>
    [words.outcomes[status] ?? words.stage[stage], say(words.passages, { n: passages })].join(
      ' · ',
    ),
  );
  const outcome = element('span', { class: 'outcome' }, told.join(', ') || words.stage[stage]);
  return element(
    'li',
    { class: stage },
    element('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
    element('span', {}, element('span', { dir: 'auto' }, name), ' ', outcome),
    problem ? renderReason(problem) : null,
  );
}

/** @param {Problem} problem */
function renderReason(problem) {
  const told = [problem.message, problem.hint].filter(Boolean).join(' ');
  const attributes = { class: 'reason', lang: told ? API_LANGUAGE : null };
  return element('span', attributes, told || failure(problem));
}

// ---------------------------------------------------------------------------- Language and views

/** @returns {"de" | "en"} the language chosen before, else the browser's */
function chosenLanguage() {
  const kept = storage()?.getItem(LANGUAGE_KEY);
  if (kept === 'de' || kept === 'en') return kept;
  return navigator.language.toLowerCase().startsWith('de') ? 'de' : 'en';
}

/** @returns {Storage | null} null where the browser forbids it */
function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

function switchLanguage() {
  state.language = state.language === 'de' ? 'en' : 'de';
  words = STRINGS[state.language];
  storage()?.setItem(LANGUAGE_KEY, state.language);
  renderAll();
}

/** Puts the chosen language into the page as it was delivered. */
function renderStrings() {
  const table = /** @type {Record<string, unknown>} */ (words);
  document.documentElement.lang = state.language;
  for (const node of document.querySelectorAll('[data-text]')) {
    node.textContent = asText(table[node.getAttribute('data-text') ?? '']);
  }
  for (const node of document.querySelectorAll('[data-label]')) {
    node.setAttribute('aria-label', asText(table[node.getAttribute('data-label') ?? '']));
  }
  for (const node of document.querySelectorAll('[data-placeholder]')) {
    node.setAttribute('placeholder', asText(table[node.getAttribute('data-placeholder') ?? '']));
  }
  const other = byId('language', HTMLElement);
  other.textContent = words.otherLanguage;
  other.lang = state.language === 'de' ? 'en' : 'de';
}

/** The address says which view is shown, so that the browser's back button works. */
function renderView() {
  const documents = location.hash === '#documents';
  byId('view-ask', HTMLElement).hidden = documents;
  byId('view-documents', HTMLElement).hidden = !documents;
  document.title = `${documents ? words.viewDocuments : words.viewAsk} · Fundstelle`;
  for (const link of document.querySelectorAll('.views a')) {
    const current = link.getAttribute('href') === (documents ? '#documents' : '#ask');
    if (current) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

/** Shows the top of the documents, or the latest answer. */
function changeView() {
  renderView();
  const latest = thread.lastElementChild;
  if (latest && !byId('view-ask', HTMLElement).hidden) latest.scrollIntoView({ block: 'start' });
  else scrollTo(0, 0);
}

function renderAll() {
  renderStrings();
  renderView();
  renderThread();
  renderDocuments();
  renderUploads();
  renderSource();
}

// ---------------------------------------------------------------------------------------- Events

function submitQuestion() {
  const text = question.value.trim();
  if (!text || state.asking) return;
  question.value = '';
  ask(text);
}

function listenToComposer() {
  byId('composer', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    submitQuestion();
  });
  question.addEventListener('keydown', (event) => {
    // Enter also ends the choice of a Japanese or Chinese word; that must not send the question.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId('composer', HTMLFormElement).requestSubmit();
  });
}

function listenToSource() {
  byId('source-close', HTMLElement).addEventListener('click', closeSource);
  document.addEventListener('keydown', (event) => {
    const inDialog = byId('confirm', HTMLDialogElement).open;
    if (event.key === 'Escape' && !event.isComposing && !inDialog) closeSource();
  });
  SHEET.addEventListener('change', coverPage);
}

function listenToFiles() {
  files.addEventListener('change', () => {
    addFiles([...(files.files ?? [])]);
    files.value = '';
  });
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

/** @param {DragEvent} event */
function carriesFiles(event) {
  return event.dataTransfer?.types.includes('Files') ?? false;
}

function start() {
  listenToComposer();
  listenToSource();
  listenToFiles();
  byId('language', HTMLElement).addEventListener('click', switchLanguage);
  byId('more', HTMLElement).addEventListener('click', loadMore);
  addEventListener('hashchange', changeView);
  renderAll();
  loadDocuments();
}

start();
