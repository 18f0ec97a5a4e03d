// Files go up, are read, and the library is brought up to date: what the first start and the library's room share.
import { ref } from 'vue'

import { said, upload } from './api'
import { assistants, at, hasLibrary, refresh } from './house'
import { ended, startJob, watchJob, wrong } from './jobs'
import { placeOf } from './places'
import type { Job } from './records'

type Stage = '' | 'sending' | 'reading' | 'library' | 'done'

export function useAdding() {
  const stage = ref<Stage>('')
  const share = ref(0)
  const log = ref('')
  const fault = ref('')
  const leaving = new AbortController()

  async function through(job: Job): Promise<void> {
    const stands = await watchJob(job, { log: (text) => (log.value = text.trim().split('\n').at(-1) ?? '') }, leaving.signal)
    if (ended(stands) && stands.status !== 'done') throw new Error(wrong(stands) || stands.status)
  }

  /** Build the library, or bring it up to date with the documents. */
  async function learn(): Promise<void> {
    fault.value = log.value = ''
    stage.value = 'library'
    try {
      const there = assistants.value.find((one) => hasLibrary(one) && one.on === 'bare')
      await through(await startJob('teach', { route: 'retrieve', again: true, ...(there ? { name: there.name } : {}) }))
      stage.value = 'done'
    } catch (error) {
      fault.value = said(error)
      stage.value = ''
    }
    await refresh()
  }

  async function add(files: File[]): Promise<void> {
    fault.value = log.value = ''
    stage.value = 'sending'
    try {
      const form = new FormData()
      for (const file of files) form.append('files', file, placeOf(file))
      const job = await upload<Job>(`${at.value}/documents`, form, (sent) => (share.value = sent))
      stage.value = 'reading'
      await through(job)
    } catch (error) {
      fault.value = said(error)
      stage.value = ''
      return refresh()
    }
    return learn()
  }

  return { stage, share, log, fault, add, learn, stop: () => leaving.abort() }
}
