/** SvelteKit with adapter-node, started by the name of its folder. */

import { abortedBeforeHead, abortedStream, notModified, streamed, suspended } from '../cases.ts'
import { form, json, multipart, one, type TestedApplication } from '../shape.ts'
import { WEB_STREAM } from './streams.ts'

export const sveltekit: TestedApplication = {
  name: 'SvelteKit',
  packages: {
    '@sveltejs/kit': '3.2.0',
    '@sveltejs/adapter-node': '6.0.1',
    '@sveltejs/vite-plugin-svelte': '7.3.1',
    svelte: '5.57.3',
    vite: '8.4.0',
  },
  manifest: { type: 'module' },
  files: {
    'vite.config.js': `
import adapter from '@sveltejs/adapter-node'
import { sveltekit } from '@sveltejs/kit/vite'
export default { plugins: [await sveltekit({ adapter: adapter() })] }
`,
    'src/app.html': `<!doctype html>\n<html lang="en"><head>%sveltekit.head%</head><body><div>%sveltekit.body%</div></body></html>\n`,
    'src/lib/lib.js': WEB_STREAM,
    'static/file.txt': 'a static file\n'.repeat(500),
    'src/routes/+page.svelte': `<script>\nlet { data, form } = $props()\n</script>\n<h1>home {data.method} {form?.name ?? ''}</h1>\n<form method="POST"><input name="name" /></form>\n`,
    'src/routes/+page.server.js': `
import { fail, redirect } from '@sveltejs/kit'
export const load = ({ request }) => ({ method: request.method })
export const actions = {
  default: async ({ request, cookies }) => {
    const name = (await request.formData()).get('name')
    if (!name) return fail(422, { name: 'missing' })
    cookies.set('sent', name, { path: '/' })
    if (name === 'away') redirect(303, '/prerendered')
    return { name }
  },
}
`,
    'src/routes/prerendered/+page.svelte': '<p>prerendered</p>\n',
    'src/routes/prerendered/+page.js': 'export const prerender = true\n',
    'src/routes/streamed/+page.svelte': `<script>\nlet { data } = $props()\n</script>\n{#await data.late}<i>wait</i>{:then text}<p>{text}</p>{/await}\n`,
    'src/routes/streamed/+page.server.js': `
import { sleep } from '../../lib/lib.js'
export const load = () => ({ late: sleep(300).then(() => 'streamed part') })
`,
    'src/routes/old/+page.server.js': `import { redirect } from '@sveltejs/kit'\nexport const load = () => redirect(307, '/prerendered')\n`,
    'src/routes/api/+server.js': `
import { json } from '@sveltejs/kit'
export const GET = ({ url, getClientAddress }) => json({ query: url.searchParams.get('a'), address: getClientAddress() })
export const POST = async ({ request }) => json({ got: await request.json() })
`,
    'src/routes/upload/+server.js': `
import { json } from '@sveltejs/kit'
export const POST = async ({ request }) => { const form = await request.formData(); return json({ text: form.get('text'), size: form.get('file').size }) }
`,
    'src/routes/fails/+server.js': `export const GET = () => { throw new Error('fails') }\n`,
    'src/routes/stream/+server.js': `
import { streamOf } from '../../lib/lib.js'
export const GET = () => new Response(streamOf(50, 10, 'stream closed'), { headers: { 'Content-Type': 'text/plain' } })
`,
    'src/routes/slow/+server.js': `import { streamOf } from '../../lib/lib.js'\nexport const GET = () => new Response(streamOf(100, 10))\n`,
    'src/routes/late/+server.js': `
import { notes, sleep } from '../../lib/lib.js'
export const GET = async () => { await sleep(900); notes.push('late answered'); return new Response('late') }
`,
    'src/routes/notes/+server.js': `import { json } from '@sveltejs/kit'\nimport { notes } from '../../lib/lib.js'\nexport const GET = () => json(notes)\n`,
  },
  build: [{ bin: 'node_modules/vite/bin/vite.js', args: ['build'] }],
  starts: [
    {
      title: 'SvelteKit',
      module: 'build',
      // adapter-node ignores proxies unless configured.
      env: { PROTOCOL_HEADER: 'x-none', BODY_SIZE_LIMIT: '1M' },
      load: '/api',
      slow: '/slow',
      cases: [
        one('A page', 200, '/'),
        one('HEAD of a page', 200, '/', { method: 'HEAD' }),
        one('A page that is not there', 404, '/nowhere'),
        one('A prerendered page', 200, '/prerendered'),
        one('A redirect', 307, '/old'),
        one('A static file', 200, '/file.txt'),
        one('A part of a static file', 206, '/file.txt', { headers: [['Range', 'bytes=2-5']] }),
        notModified('/file.txt'),
        one('A file that was compressed beforehand', 200, '/file.txt', { headers: [['Accept-Encoding', 'br']] }),
        one('An endpoint', 200, '/api?a=b'),
        { title: 'POST to an endpoint', status: [200], requests: [json('/api', { a: 1 })] },
        {
          title: 'An upload',
          async run(server) {
            const request = multipart('/upload', { text: 'word', file: new Uint8Array(100_000).fill(66) }, [
              ['Origin', server.origin],
            ])
            const { status, body } = await server.fetch(request)
            return { status, body: body.toString() }
          },
        },
        {
          title: 'Form actions',
          async run(server) {
            const seen: unknown[] = []
            for (const name of ['me', '', 'away']) {
              const { status, headers, body } = await server.fetch(form('/', { name }, [['Origin', server.origin]]))
              const kept = headers.filter(([field]) => ['location', 'set-cookie'].includes(field.toLowerCase()))
              seen.push({ status, kept, text: /home[^<]*/.exec(body.toString())?.[0] })
            }
            return seen
          },
        },
        {
          title: 'A form of another site',
          status: [403],
          requests: [form('/', { name: 'x' }, [['Origin', 'http://evil.test']])],
        },
        one('An endpoint that fails', 500, '/fails'),
        one('A body that is too large', 413, '/api', {
          method: 'POST',
          body: new Uint8Array(1_200_000),
          headers: [['Content-Type', 'application/json']],
        }),
        streamed('/stream', 'part', 50),
        suspended('/streamed', 'wait', 'streamed part'),
        abortedStream('/stream', 'stream closed'),
        abortedBeforeHead('/late', 'late answered'),
      ],
    },
  ],
}
