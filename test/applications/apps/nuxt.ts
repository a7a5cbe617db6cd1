/** Nuxt, as built by `nuxt build`. */

import { abortedBeforeHead, abortedStream, echoes, notModified, streamed } from '../cases.ts'
import { form, json, multipart, one, type TestedApplication } from '../shape.ts'
import { WEB_STREAM } from './streams.ts'

export const nuxt: TestedApplication = {
  name: 'Nuxt',
  packages: { nuxt: '4.5.2', vue: '3.5.45' },
  manifest: { type: 'module', overrides: { vite: '8.2.0' } },
  files: {
    'nuxt.config.mjs': `
export default defineNuxtConfig({
  telemetry: false,
  compatibilityDate: '2026-01-01',
  nitro: { experimental: { websocket: true } },
  routeRules: { '/old': { redirect: '/about' }, '/cached': { headers: { 'cache-control': 's-maxage=60' } } },
})
`,
    'app/pages/index.vue': `<script setup>\nconst { data } = await useFetch('/api/own')\n</script>\n<template><h1>home {{ data.own }}</h1></template>\n`,
    'app/pages/about.vue': '<template><p>about</p></template>\n',
    'app/app.vue': '<template><NuxtPage /></template>\n',
    'public/file.txt': 'a public file\n'.repeat(500),
    'server/utils/lib.js': WEB_STREAM,
    'server/api/own.get.js': `export default defineEventHandler(() => ({ own: 'data' }))\n`,
    'server/api/echo.post.js': `export default defineEventHandler(async (event) => ({ got: await readBody(event) }))\n`,
    'server/api/upload.post.js': `
export default defineEventHandler(async (event) => (await readMultipartFormData(event)).map(({ name, data }) => ({ name, size: data.length })))
`,
    'server/api/cookies.get.js': `
export default defineEventHandler((event) => { setCookie(event, 'b', '2'); return { a: getCookie(event, 'a') } })
`,
    'server/api/fails.get.js': `export default defineEventHandler(() => { throw createError({ statusCode: 418, statusMessage: 'teapot' }) })\n`,
    'server/api/stream.get.js': `
export default defineEventHandler((event) => {
  const { res } = event.node
  res.on('close', () => { if (!res.writableEnded) notes.push('stream closed') })
  return streamOf(50, 10)
})
`,
    'server/api/slow.get.js': 'export default defineEventHandler(() => streamOf(100, 10))\n',
    'server/api/events.get.js': `
export default defineEventHandler((event) => {
  const events = createEventStream(event)
  ;(async () => { for (let at = 0; at < 5; at++) { await events.push('number ' + at); await sleep(20) } await events.close() })()
  return events.send()
})
`,
    'server/api/late.get.js': `export default defineEventHandler(async () => { await sleep(900); notes.push('late answered'); return 'late' })\n`,
    'server/routes/notes.get.js': 'export default defineEventHandler(() => notes)\n',
    'server/routes/ws.js': `export default defineWebSocketHandler({ message(peer, message) { peer.send('echo ' + message.text()) } })\n`,
  },
  build: [{ bin: 'node_modules/nuxt/bin/nuxt.mjs', args: ['build'] }],
  starts: [
    {
      title: 'Nuxt',
      module: '.output/server/index.mjs',
      load: '/api/own',
      slow: '/api/slow',
      socket: '/ws',
      cases: [
        one('A page', 200, '/'),
        one('HEAD of a page', 200, '/', { method: 'HEAD' }),
        one('A page that is not there', 404, '/nowhere'),
        one('A redirect', 307, '/old'),
        one('A file of the public folder', 200, '/file.txt'),
        notModified('/file.txt'),
        one('An API route', 200, '/api/own'),
        { title: 'POST of JSON', status: [200], requests: [json('/api/echo', { a: 1 })] },
        { title: 'POST of a form', status: [200], requests: [form('/api/echo', { a: 'b' })] },
        {
          title: 'An upload',
          status: [200],
          requests: [multipart('/api/upload', { text: 'word', file: new Uint8Array(100_000).fill(66) })],
        },
        one('Cookies', 200, '/api/cookies', { headers: [['Cookie', 'a=1']] }),
        one('A route that fails', 418, '/api/fails'),
        streamed('/api/stream', 'part', 50),
        streamed('/api/events', 'number', 5),
        abortedStream('/api/stream', 'stream closed'),
        abortedBeforeHead('/api/late', 'late answered'),
        echoes('/ws', ['one', 'two'], ['echo one', 'echo two']),
      ],
    },
  ],
}
