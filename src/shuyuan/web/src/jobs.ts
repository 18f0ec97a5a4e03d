// Work that the server does in the background: started here, followed from anywhere, also after a refresh.
import { follow, get, post } from './api'
import { at } from './house'
import type { Job, Point } from './records'

export const ended = (job: Job): boolean => job.status === 'done' || job.status === 'failed' || job.status === 'cancelled'
export const startJob = (kind: 'teach' | 'exam', order: Record<string, unknown>) => post<Job>(`${at.value}/jobs/${kind}`, order)
/** A page of the jobs of one kind, newest first, from the beginning or after the last one shown. */
export const listJobs = (kind: Job['kind'], after = '', limit = 20) =>
  get<{ data: Job[]; has_more: boolean }>(`${at.value}/jobs?${new URLSearchParams({ kind, after, limit: `${limit}` })}`)
export const steer = (id: string, verb: 'cancel' | 'pause' | 'resume') => post<Job>(`${at.value}/jobs/${id}/${verb}`)
export const nameOf = (job: Job): string => String(job.result?.assistant ?? job.result?.exam ?? job.title)
export function wrong({ error }: Job): string {
  const file = error?.place?.split('/').at(-1) // with the line
  return error ? [file ? `${file}: ${error.message}` : error.message, error.hint].filter(Boolean).join('\n') : ''
}

export interface Watch {
  job?: (job: Job) => void
  log?: (text: string) => void
  point?: (point: Point) => void
  rewind?: (step: number) => void
}

/** Follow a job to its end or its pause; returns how it stands then. */
export async function watchJob(job: Job, tell: Watch, signal: AbortSignal): Promise<Job> {
  let last = job
  await follow(`${at.value}/jobs/${job.id}/events`, ({ event, data }) => {
    const told = JSON.parse(data)
    if (event === 'job') {
      last = told as Job
      tell.job?.(last)
      return ended(last) || last.status === 'paused'
    }
    if (event === 'log') tell.log?.(String(told.text))
    else if (event === 'point') tell.point?.(told as Point)
    else if (event === 'rewind') tell.rewind?.(Number(told.step))
    return false
  }, signal)
  return last
}
