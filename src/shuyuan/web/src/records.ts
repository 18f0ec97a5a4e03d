// The records of the server's API (its OpenAPI description has them all), as far as the page reads them.
export interface Brief { name: string; model: string; embedder: string; counts: Record<'files' | 'documents' | 'passages' | 'examples' | 'questions', number>; assistants: string[]; exams: string[] }
export interface Taught { name: string; route: string; on: string; stale: string; done: Record<string, unknown> }
export interface Whole extends Brief { faults: Record<string, string>; languages: Record<string, number>; origins: Record<string, number>; default_assistant: string; taught: Taught[] }
export type Span = [start: number, end: number] // of characters (code points)
/** `supports`: the sentences of the answer that it speaks for; an answer that the browser kept from before may lack it. */
export interface Citation { source: string; start: number; end: number; quote: string; page: number | null; headings?: string[]; supports?: Span[] }
export interface Answer {
  assistant: string
  text: string
  citations: Citation[]
  refused: boolean
  beyond: boolean
  cut: boolean
  unsupported?: Span[] // may be lacking, too
  prompt_tokens: number
  answer_tokens: number
  seconds: number
  related?: Neighbour[]
}
export interface Neighbour { id: string; question: string; last: number }
export interface AskedBrief extends Neighbour { times: number; first: number; state: 'answered' | 'unanswered' | 'withdrawn'; public: boolean; answer: string; assistant: string; answered: number }
export interface AskedList { data: AskedBrief[]; total: number; keeping: string; may_write: boolean; may_choose: boolean }
export interface Reference extends Citation { before: string; after: string; headings: string[] }
export interface AskedPage extends AskedBrief { wordings: string[]; text: string; model: string; unsupported: Span[]; references: Reference[]; related: AskedBrief[] }
export interface Problem { message: string; hint?: string; place?: string }
export interface Job {
  id: string
  kind: 'add' | 'teach' | 'exam' | 'pull' | 'tuning'
  title: string
  status: 'queued' | 'running' | 'paused' | 'done' | 'failed' | 'cancelled'
  wanted: string
  created: number
  started: number | null
  finished: number | null
  step: number
  steps: number | null
  given: Record<string, unknown>
  result: Record<string, unknown> | null
  error: Problem | null
}
export interface Point { step: number; steps: number; loss?: number; held_out_loss?: number; accuracy?: number; general_bits_per_byte?: number }
export interface FileRow { source: string; bytes: number; fault: string; title: string; language: string; characters: number; pages: number; passages: number; pinned: boolean; tags: string[]; group: string }
export interface Mark { source: string; pinned: boolean; tags: string[]; group: string }
export interface Within { tags: string[]; folder: string; kind: string }
export interface Hit { passage_id: string; source: string; start: number; end: number; text: string; headings: string[]; page: number | null; score: number; cosine: number | null; word_rank: number | null; boxes: [number, number, number, number, number][] }
export interface Route { name: string; about: string; moves_weights: boolean; learns_examples: boolean; schema: Schema }
export interface Paper { name: string; about: string; usual: boolean }
export interface Field {
  type?: string
  description?: string
  default?: unknown
  enum?: string[]
  anyOf?: { type?: string; enum?: string[] }[]
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
  exclusiveMaximum?: number
}
export interface Schema { properties?: Record<string, Field> }
