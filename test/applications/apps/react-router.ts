/** React Router's framework mode with react-router-serve. */

import { abortedBeforeHead, abortedStream, notModified, streamed } from '../cases.ts'
import { form, json, multipart, one, type TestedApplication } from '../shape.ts'
import { WEB_STREAM } from './streams.ts'

const routes = ['old', 'api', 'upload', 'fails', 'stream', 'slow', 'late', 'notes', 'suspended']

export const reactRouter: TestedApplication = {
  name: 'React Router',
  packages: {
    'react-router': '8.4.0',
    '@react-router/serve': '8.4.0',
    '@react-router/node': '8.4.0',
    '@react-router/dev': '8.4.0',
    react: '19.3.1',
    'react-dom': '19.3.1',
    isbot: '5.2.3',
    vite: '8.4.0',
  },
  manifest: { type: 'module' },
  files: {
    'vite.config.js': `import { reactRouter } from '@react-router/dev/vite'\nexport default { plugins: [reactRouter()] }\n`,
    'react-router.config.js': 'export default { ssr: true }\n',
    'public/file.txt': 'a public file\n'.repeat(500),
    'app/lib.js': WEB_STREAM,
    'app/routes.js': `
import { index, route } from '@react-router/dev/routes'
export default [index('home.jsx'), ${routes.map((name) => `route('${name}', '${name}.jsx')`).join(', ')}]
`,
    'app/root.jsx': `
import { Outlet, Scripts } from 'react-router'
export default function Root() { return <html lang="en"><body><Outlet /><Scripts /></body></html> }
`,
    'app/home.jsx': `
import { Form, redirect } from 'react-router'
export const loader = ({ request }) => ({ method: request.method })
export async function action({ request }) {
  const name = (await request.formData()).get('name')
  if (name === 'away') return redirect('/api', { headers: { 'Set-Cookie': 'sent=yes' } })
  return { name }
}
export default function Home({ loaderData, actionData }) {
  return <main><h1>{'home ' + loaderData.method + ' ' + (actionData?.name ?? '')}</h1><Form method="post"><input name="name" /></Form></main>
}
`,
    'app/suspended.jsx': `
import { Suspense } from 'react'
import { Await } from 'react-router'
import { sleep } from './lib.js'
export const loader = () => ({ late: sleep(300).then(() => 'streamed ' + 'part') })
export default function Page({ loaderData }) {
  return <Suspense fallback={<i>wait</i>}><Await resolve={loaderData.late}>{(text) => <p title={text}>ready</p>}</Await></Suspense>
}
`,
    'app/old.jsx': `import { redirect } from 'react-router'\nexport const loader = () => redirect('/')\n`,
    'app/api.jsx': `
export const loader = ({ request }) => Response.json({ query: new URL(request.url).searchParams.get('a'), url: request.url })
export const action = async ({ request }) => Response.json({ got: await request.json() })
`,
    'app/upload.jsx': `export const action = async ({ request }) => { const form = await request.formData(); return Response.json({ size: form.get('file').size }) }\n`,
    'app/fails.jsx': `export const loader = () => { throw new Response('teapot', { status: 418 }) }\n`,
    'app/stream.jsx': `
import { streamOf } from './lib.js'
export const loader = () => new Response(streamOf(50, 10, 'stream closed'), { headers: { 'Content-Type': 'text/plain' } })
`,
    'app/slow.jsx': `import { streamOf } from './lib.js'\nexport const loader = () => new Response(streamOf(100, 10))\n`,
    'app/late.jsx': `
import { notes, sleep } from './lib.js'
export const loader = async () => { await sleep(900); notes.push('late answered'); return new Response('late') }
`,
    'app/notes.jsx': `import { notes } from './lib.js'\nexport const loader = () => Response.json(notes)\n`,
  },
  build: [{ bin: 'node_modules/@react-router/dev/bin.cjs', args: ['build'] }],
  starts: [
    {
      title: 'React Router',
      module: 'node_modules/@react-router/serve/bin.cjs',
      args: () => ['build/server/index.js'],
      load: '/api',
      slow: '/slow',
      cases: [
        one('A page', 200, '/'),
        one('HEAD of a page', 200, '/', { method: 'HEAD' }),
        one('A page that is not there', 404, '/nowhere'),
        one('A redirect', 302, '/old'),
        one('A file of the public folder', 200, '/file.txt'),
        notModified('/file.txt'),
        one('A resource route', 200, '/api?a=b'),
        one('The data of a page', 200, '/_.data'),
        { title: 'POST to a resource route', status: [200], requests: [json('/api', { a: 1 })] },
        {
          title: 'Form actions',
          async run(server) {
            const seen: unknown[] = []
            for (const name of ['me', 'away']) {
              const { status, headers, body } = await server.fetch(
                form('/?index', { name }, [['Origin', server.origin]]),
              )
              const kept = headers.filter(([field]) => ['location', 'set-cookie'].includes(field.toLowerCase()))
              seen.push({ status, kept, text: /home[^<]*/.exec(body.toString())?.[0] })
            }
            return seen
          },
        },
        {
          title: 'An upload',
          status: [200],
          requests: [multipart('/upload', { file: new Uint8Array(100_000).fill(66) })],
        },
        one('A loader that refuses', 418, '/fails'),
        streamed('/stream', 'part', 50),
        one('A page that waits for its data', 200, '/suspended'),
        abortedStream('/stream', 'stream closed'),
        abortedBeforeHead('/late', 'late answered'),
      ],
    },
  ],
}
