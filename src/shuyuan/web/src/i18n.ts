// The page's languages: the words are in locales/, one file each with the same keys (a test compares them).
import { createI18n } from 'vue-i18n'

import en from './locales/en.json'
import zh from './locales/zh.json'
import { tellIn } from './told'

export type Language = 'en' | 'zh'

const kept = localStorage.getItem('language')
const first: Language = kept === 'en' || kept === 'zh' ? kept : navigator.language.startsWith('zh') ? 'zh' : 'en'

export const i18n = createI18n({ legacy: false, locale: first, fallbackLocale: 'en', messages: { en, zh } })

export function setLanguage(language: Language): void {
  i18n.global.locale.value = language
  localStorage.setItem('language', language)
  void tellIn(language)
  document.documentElement.lang = language === 'zh' ? 'zh-Hans' : 'en'
}

setLanguage(first)
