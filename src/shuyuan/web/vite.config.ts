import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

// Served by `shuyuan serve` from `dist/`; while it is developed, from here, with the server beside it.
export default defineConfig({
  plugins: [vue()],
  define: { __VUE_I18N_FULL_INSTALL__: 'false', __VUE_I18N_LEGACY_API__: 'false', __INTLIFY_PROD_DEVTOOLS__: 'false' },
  build: { modulePreload: { polyfill: false }, assetsInlineLimit: 0, chunkSizeWarningLimit: 600 },
  server: { fs: { allow: ['..'] }, proxy: { '/api': 'http://127.0.0.1:8000', '/v1': 'http://127.0.0.1:8000' } },
})
