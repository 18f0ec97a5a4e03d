// What all views share: which workspace is open, and who can answer in it.
import { computed, ref, watch } from 'vue'

import { get } from './api'
import type { Brief, Taught, Whole } from './records'

export const workspaces = ref<Brief[]>([])
export const workspace = ref<Whole | null>(null)
export const loaded = ref(false)
export const chosen = ref(localStorage.getItem('workspace') ?? '')
export const assistants = computed<Taught[]>(() => workspace.value?.taught ?? [])
export const at = computed(() => `/api/workspaces/${encodeURIComponent(workspace.value?.name ?? '')}`)

watch(chosen, (name) => localStorage.setItem('workspace', name))

/** Whether an assistant looks things up. */
export const hasLibrary = (one: Taught): boolean => one.route === 'retrieve'

/** Read the workspaces anew, and the one that is open. */
export async function refresh(): Promise<void> {
  workspaces.value = await get<Brief[]>('/api/workspaces')
  const name = workspaces.value.some((one) => one.name === chosen.value) ? chosen.value : workspaces.value[0]?.name
  workspace.value = name ? await get<Whole>(`/api/workspaces/${encodeURIComponent(name)}`) : null
  loaded.value = true
}

/** Open another workspace. */
export async function open(name: string): Promise<void> {
  chosen.value = name
  await refresh()
}
