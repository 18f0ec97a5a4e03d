// The conversation of a workspace, kept in this browser alone: a refresh loses nothing.
import type { Answer } from './records'

export interface Reply { assistant: string; text: string; answer: Answer | null; fault: string }
export interface Turn { question: string; replies: Reply[] }

const MOST = 50 // turns
const place = (workspace: string): string => `ask:${workspace}`

export function kept(workspace: string): Turn[] {
  try {
    return JSON.parse(localStorage.getItem(place(workspace)) ?? '[]') as Turn[]
  } catch {
    return []
  }
}

export function keep(workspace: string, turns: Turn[]): void {
  localStorage.setItem(place(workspace), JSON.stringify(turns.slice(-MOST)))
}

/** What was said of a removed document goes with it. */
export function forgetSource(workspace: string, source: string): void {
  const cites = (reply: Reply) => reply.answer?.citations.some((citation) => citation.source === source)
  keep(workspace, kept(workspace).filter((turn) => !turn.replies.some(cites)))
}
