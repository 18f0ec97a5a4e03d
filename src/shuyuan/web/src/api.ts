// The server's API. Every view speaks through these functions; a refusal is a `Refused` that says what happened and what to do.
import { ref } from 'vue'

import { i18n } from './i18n'

/** Whether the server wants to know who is here: App shows the form for the key. */
export const locked = ref(false)

export class Refused extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly hint = '',
  ) {
    super(hint ? `${message}\n${hint}` : message)
  }
}

const unreachable = () => new Refused(i18n.global.t('app.unreachable'), 0)

/** Ask the server; where it does not answer at all, that is what is said. */
async function reach(path: string, how: RequestInit): Promise<Response> {
  try {
    return await fetch(path, how)
  } catch (error) {
    throw how.signal?.aborted ? error : unreachable()
  }
}

async function refuse(response: Response): Promise<never> {
  let told: { message?: string; hint?: string } = {}
  try {
    told = (await response.json()).error ?? {}
  } catch {
    // an answer that is not ours, of a proxy perhaps: its status is all there is to say
  }
  if (response.status === 401) locked.value = true
  throw new Refused(told.message ?? `${response.status} ${response.statusText}`, response.status, told.hint)
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const sent = body === undefined ? {} : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
  const response = await reach(path, { method, ...sent })
  if (!response.ok) await refuse(response)
  return response.status === 204 ? (undefined as T) : ((await response.json()) as T)
}

export const get = <T>(path: string) => call<T>('GET', path)
export const post = <T>(path: string, body: unknown = {}) => call<T>('POST', path, body)
export const put = <T>(path: string, body: unknown) => call<T>('PUT', path, body)
export const remove = <T>(path: string) => call<T>('DELETE', path)

/** Send files as a form; `onShare` is told how much of them has gone out, from 0 to 1. */
export function upload<T>(path: string, form: FormData, onShare: (share: number) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('POST', path)
    request.responseType = 'json'
    request.upload.onprogress = (sent) => sent.lengthComputable && onShare(sent.loaded / sent.total)
    request.onerror = () => reject(unreachable())
    request.onload = () => {
      if (request.status < 300) return resolve(request.response as T)
      const told = request.response?.error ?? {}
      return reject(new Refused(told.message ?? `${request.status}`, request.status, told.hint))
    }
    request.send(form)
  })
}

export interface ServerEvent {
  id: string
  event: string
  data: string
}

/** The events of a stream as they come. It ends with the stream, or when `signal` is aborted. */
async function* events(response: Response): AsyncGenerator<ServerEvent> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let waiting = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const blocks = (waiting + value).replaceAll('\r\n', '\n').split('\n\n')
    waiting = blocks.pop() ?? ''
    for (const block of blocks) {
      const found: ServerEvent = { id: '', event: 'message', data: '' }
      const data: string[] = []
      for (const line of block.split('\n')) {
        const [name, rest] = [line.split(':', 1)[0] ?? '', line.slice(line.indexOf(':') + 1).replace(/^ /, '')]
        if (name === 'data') data.push(rest)
        else if (name === 'id' || name === 'event') found[name] = rest
      }
      if (data.length) yield { ...found, data: data.join('\n') }
    }
  }
}

/** Ask for something that is answered piece by piece. */
export async function stream(path: string, body: unknown, take: (event: ServerEvent) => void, signal: AbortSignal): Promise<void> {
  const response = await reach(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal })
  if (!response.ok) await refuse(response)
  for await (const event of events(response)) take(event)
}

/** Follow what happens, from the beginning or from where it broke off, until `take` returns true or `signal` is aborted. */
export async function follow(path: string, take: (event: ServerEvent) => boolean | void, signal: AbortSignal): Promise<void> {
  let last = ''
  let wait = 500
  while (!signal.aborted) {
    try {
      const response = await fetch(path, { headers: last ? { 'Last-Event-ID': last } : {}, signal })
      if (!response.ok) await refuse(response)
      for await (const event of events(response)) {
        wait = 500
        last = event.id || last
        if (take(event)) return
      }
    } catch (error) {
      if (signal.aborted || (error instanceof Refused && error.status < 500)) {
        if (signal.aborted) return
        throw error
      }
    }
    await new Promise((resolve) => setTimeout(resolve, wait))
    wait = Math.min(wait * 2, 8000) // the server is being started again, perhaps
  }
}

export const said = (error: unknown): string => (error instanceof Error ? error.message : String(error))
