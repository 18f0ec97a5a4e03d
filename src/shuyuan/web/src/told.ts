// What the server tells people is English; on the Chinese page it is said in Chinese, as far as it is known.
import { shallowRef } from 'vue'

const chinese = shallowRef<((text: string) => string) | null>(null) // also while its words are on their way: null

let wanted = ''

/** Say it in this language from now on. The Chinese words are fetched when they are needed first. */
export async function tellIn(language: 'en' | 'zh'): Promise<void> {
  wanted = language
  chinese.value = null
  const fetched = language === 'zh' ? await import('./chinese').catch(() => null) : null
  if (wanted === 'zh') chinese.value = fetched?.inChinese ?? null
}

/** The text in the page's language. */
export const told = (text: string): string => chinese.value?.(text) ?? text
