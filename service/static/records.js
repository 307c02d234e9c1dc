// What the page's modules hand to each other. Types only: there is nothing here to run.

/**
 * Offsets count Unicode code points, as everywhere in the service's contract.
 * @typedef {{start: number, end: number}} Span
 *
 * Where a span stands in its file, as far as the format knows: pages, the nearest heading above, the paragraph.
 * @typedef {Object} Location
 * @property {number | null} [page]
 * @property {number | null} [last_page] only where the span runs over to another page
 * @property {string | null} [section]
 * @property {number | null} [paragraph] from 1 on
 *
 * What a document's file or its metadata says of its origin; the page shows these two.
 * @typedef {{date?: unknown, author?: unknown}} Origin
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
 * @property {Location | null} [location]
 * @property {Origin} [metadata]
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
 * @property {Location | null} [location]
 * @property {Origin} [metadata]
 * @property {number | null} [same_as] the citation that has these words, too
 * @property {number | null} [differs_from] a citation that says nearly the same
 *
 * What a language model wrote from the citations; `withheld` counts the sentences that failed a check.
 * @typedef {Object} Written
 * @property {{text: string, citations: number[]}[]} sentences
 * @property {string} model
 * @property {number} withheld
 * @property {string | null} problem a stable code: why nothing was written
 *
 * @typedef {Object} Answer
 * @property {boolean} answerable
 * @property {number} confidence 0 to 1
 * @property {string | null} answer
 * @property {string} [searched] the query that was really searched
 * @property {"extractive" | "written"} [answer_kind]
 * @property {Written | null} [written]
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
 * @property {"text" | "markdown" | "html" | "pdf" | "docx"} [format]
 * @property {number | null} [pages]
 * @property {Origin} [metadata]
 * @property {string} [status]
 *
 * @typedef {{source: string, error: {code: string, message: string, hint: string}}} Rejected
 * @typedef {{documents: DocumentRecord[], rejected?: Rejected[]}} Added
 * @typedef {{documents: DocumentRecord[], next_cursor: string | null, total?: number}} DocumentPage
 * @typedef {{q: string, language: string, format: string}} Filter
 *
 * One question and what came of it: an answer, a problem, or neither yet.
 * @typedef {Object} Turn
 * @property {string} question
 * @property {string | null} previous what was searched before, if the question may follow up on it
 * @property {Answer | null} answer
 * @property {import('./api.js').Problem | null} problem
 * @property {number} at when it was asked, in milliseconds
 * @property {boolean} [reopened] whether it comes out of the history
 *
 * @typedef {{id: string, turns: Turn[]}} Conversation
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
 * @property {Location | null} location
 * @property {Origin} origin
 * @property {Span | null} marked what is highlighted
 * @property {string} expected the text that must stand there
 * @property {Span | null} around the passage that is tinted
 *
 * @typedef {Object} Upload
 * @property {string} name
 * @property {"waiting" | "sending" | "reading" | "done" | "failed"} stage
 * @property {number} sent share that has left, 0 to 1
 * @property {DocumentRecord[]} documents
 * @property {import('./api.js').Problem | null} problem
 */

export {};
