// The conversation of a workspace, kept in this browser alone: a refresh loses nothing.
import { get } from './api'
import type { Answer, FileRow } from './records'

/** `asked`: when, in milliseconds; replies one after the other, for two at once would both be slower. */
export interface Reply { assistant: string; text: string; answer: Answer | null; fault: string; asked?: number }
export interface Turn { question: string; replies: Reply[]; asked?: number }

const MOST = 50 // turns
const AT_ONCE = 20 // sources asked for in one address
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

/** The turn with a word on each reply that a page which was since left or loaded again had waited for. */
export function ended(turn: Turn, stopped: string): Turn {
  if ((turn.asked ?? 0) > performance.timeOrigin) return turn
  return { ...turn, replies: turn.replies.map((reply) => (reply.answer || reply.fault ? reply : { ...reply, fault: stopped })) }
}

const cited = (turn: Turn): string[] => turn.replies.flatMap((reply) => reply.answer?.citations.map((citation) => citation.source) ?? [])

/** Of the documents that these turns cite, those that are not in the workspace any more, or not for this reader. */
export async function gone(workspace: string, turns: Turn[]): Promise<Set<string>> {
  const missing = new Set(turns.flatMap(cited))
  const sources = [...missing]
  for (let from = 0; from < sources.length; from += AT_ONCE) {
    const asked = new URLSearchParams(sources.slice(from, from + AT_ONCE).map((source) => ['source', source]))
    const { data } = await get<{ data: FileRow[] }>(`/api/workspaces/${encodeURIComponent(workspace)}/documents?${asked}`)
    for (const file of data) if (!file.fault) missing.delete(file.source)
  }
  return missing
}

/** What was said of these documents goes with them. */
export const without = (turns: Turn[], sources: Set<string>): Turn[] => turns.filter((turn) => !cited(turn).some((source) => sources.has(source)))
