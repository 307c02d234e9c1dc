// Places in documents: what a citation, a passage or a whole document becomes for the source panel.

/**
 * @typedef {import('./records.js').Place} Place
 * @typedef {import('./records.js').Citation} Citation
 * @typedef {import('./records.js').Passage} Passage
 * @typedef {import('./records.js').DocumentRecord} DocumentRecord
 */

/** @param {Citation} citation @param {string} turn @returns {Place} */
export function placeOfCitation(citation, turn) {
  return {
    ...documentOf(citation),
    key: `${turn}-citation-${citation.number}`,
    kind: 'citation',
    label: String(citation.number),
    marked: { start: citation.start, end: citation.end },
    expected: citation.quote,
    around: citation.passage,
  };
}

/** @param {Passage} passage @param {string} turn @param {number} rank @returns {Place} */
export function placeOfPassage(passage, turn, rank) {
  return {
    ...documentOf(passage),
    key: `${turn}-closest-${rank}`,
    kind: 'closest',
    label: String.fromCharCode(97 + (rank % 26)),
    marked: passage,
    expected: passage.text,
    around: passage,
  };
}

/** @param {DocumentRecord} record @returns {Place} */
export function placeOfDocument(record) {
  return {
    documentId: record.id,
    source: record.source,
    title: record.title,
    language: record.language,
    score: null,
    location: null,
    origin: record.metadata ?? {},
    key: `document-${record.id}`,
    kind: 'document',
    label: '',
    marked: null,
    expected: '',
    around: null,
  };
}

/** @param {Citation | Passage} record */
function documentOf(record) {
  const {
    document_id: documentId,
    source,
    title,
    language,
    score,
    location = null,
    metadata: origin = {},
  } = record;
  return { documentId, source, title, language, score, location, origin };
}
