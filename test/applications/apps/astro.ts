/** Astro with its node adapter, standalone. */

import { abortedBeforeHead, abortedStream, notModified, streamed, suspended } from '../cases.ts'
import { form, json, multipart, one, type TestedApplication } from '../shape.ts'
import { WEB_STREAM } from './streams.ts'

export const astro: TestedApplication = {
  name: 'Astro',
  packages: { astro: '7.3.5', '@astrojs/node': '11.1.6' },
  manifest: { type: 'module' },
  files: {
    'astro.config.mjs': `
import { defineConfig } from 'astro/config'
import node from '@astrojs/node'
export default defineConfig({
  output: 'server', adapter: node({ mode: 'standalone' }), redirects: { '/old': '/static' }, security: { checkOrigin: true },
})
`,
    'public/file.txt': 'a public file\n'.repeat(500),
    'src/lib.js': WEB_STREAM,
    'src/pages/index.astro': `---\nconst name = Astro.request.method === 'POST' ? (await Astro.request.formData()).get('name') : 'nobody'\n---\n<html lang="en"><body><h1>home of {name}</h1></body></html>\n`,
    'src/pages/static.astro': `---\nexport const prerender = true\n---\n<html lang="en"><body><p>static</p></body></html>\n`,
    'src/pages/moved.astro': `---\nreturn Astro.redirect('/static', 303)\n---\n`,
    'src/pages/suspended.astro': `---
import Late from '../late.astro'
---
<html lang="en"><body><h1>early</h1><Late /></body></html>
`,
    'src/late.astro': `---\nimport { sleep } from './lib.js'\nawait sleep(300)\n---\n<p>streamed part</p>\n`,
    'src/pages/api.js': `
export const GET = ({ url, clientAddress }) => Response.json({ query: url.searchParams.get('a'), clientAddress })
export const POST = async ({ request, cookies }) => { cookies.set('b', '2'); return Response.json({ got: await request.json() }) }
`,
    'src/pages/upload.js': `export const POST = async ({ request }) => { const form = await request.formData(); return Response.json({ size: form.get('file').size }) }\n`,
    'src/pages/fails.js': `export const GET = () => { throw new Error('fails') }\n`,
    'src/pages/stream.js': `
import { streamOf } from '../lib.js'
export const GET = () => new Response(streamOf(50, 10, 'stream closed'), { headers: { 'Content-Type': 'text/plain' } })
`,
    'src/pages/slow.js': `import { streamOf } from '../lib.js'\nexport const GET = () => new Response(streamOf(100, 10))\n`,
    'src/pages/late.js': `
import { notes, sleep } from '../lib.js'
export const GET = async () => { await sleep(900); notes.push('late answered'); return new Response('late') }
`,
    'src/pages/notes.js': `import { notes } from '../lib.js'\nexport const GET = () => Response.json(notes)\n`,
  },
  build: [{ bin: 'node_modules/astro/bin/astro.mjs', args: ['build'] }],
  starts: [
    {
      title: 'Astro',
      module: 'dist/server/entry.mjs',
      load: '/api',
      slow: '/slow',
      cases: [
        one('A page', 200, '/'),
        one('HEAD of a page', 200, '/', { method: 'HEAD' }),
        one('A page that is not there', 404, '/nowhere'),
        one('A prerendered page', 200, '/static'),
        one('A redirect of the configuration', 301, '/old'),
        one('A redirect of a page', 303, '/moved'),
        one('A file of the public folder', 200, '/file.txt'),
        one('A part of a file', 206, '/file.txt', { headers: [['Range', 'bytes=2-5']] }),
        notModified('/file.txt'),
        one('An endpoint', 200, '/api?a=b'),
        { title: 'POST to an endpoint', status: [200], requests: [json('/api', { a: 1 })] },
        {
          title: 'A form',
          async run(server) {
            const { status, body } = await server.fetch(form('/', { name: 'me' }, [['Origin', server.origin]]))
            return { status, body: body.toString() }
          },
        },
        {
          title: 'A form of another site',
          status: [403],
          requests: [form('/', { name: 'x' }, [['Origin', 'http://evil.test']])],
        },
        {
          title: 'An upload',
          async run(server) {
            const file = new Uint8Array(100_000).fill(66)
            const { status, body } = await server.fetch(multipart('/upload', { file }, [['Origin', server.origin]]))
            return { status, body: body.toString() }
          },
        },
        one('An endpoint that fails', 500, '/fails'),
        streamed('/stream', 'part', 50),
        suspended('/suspended', 'early', 'streamed part'),
        abortedStream('/stream', 'stream closed'),
        abortedBeforeHead('/late', 'late answered'),
      ],
    },
  ],
}
