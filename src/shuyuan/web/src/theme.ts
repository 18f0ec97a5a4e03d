// Light or dark: as the person chose, else as their system is.
import { ref, watchEffect } from 'vue'

type Theme = 'light' | 'dark'

const dark = matchMedia('(prefers-color-scheme: dark)')
const kept = localStorage.getItem('theme')

export const theme = ref<Theme>(kept === 'light' || kept === 'dark' ? kept : dark.matches ? 'dark' : 'light')

watchEffect(() => {
  document.documentElement.dataset.theme = theme.value
  if (theme.value !== (dark.matches ? 'dark' : 'light')) localStorage.setItem('theme', theme.value)
  else localStorage.removeItem('theme')
})
