import { createRouter, createWebHashHistory } from 'vue-router'

// One view a file in views/. `in`: the words of its tab in the locales, in this order; others have no tab.
export const TABS = ['ask', 'questions', 'library', 'teach', 'exam', 'models', 'prompts', 'settings'] as const

const VIEWS = {
  ask: () => import('./views/Ask.vue'),
  questions: () => import('./views/Questions.vue'),
  library: () => import('./views/Library.vue'),
  teach: () => import('./views/Teach.vue'),
  exam: () => import('./views/Exam.vue'),
  models: () => import('./views/Models.vue'),
  prompts: () => import('./views/Prompts.vue'),
  settings: () => import('./views/Settings.vue'),
}

export const router = createRouter({
  history: createWebHashHistory(),
  routes: [
    { path: '/', redirect: '/ask' },
    ...TABS.map((name) => ({ path: `/${name}/:rest(.*)?`, name, component: VIEWS[name] })),
    { path: '/:unknown(.*)', redirect: '/ask' },
  ],
})
