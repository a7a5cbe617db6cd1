/** Next.js: what `next start` serves, the standalone server, and the development server with its socket. */

import type { Fields } from '../../support/client.ts'
import { abortedBeforeHead, abortedStream, notModified, streamed, suspended } from '../cases.ts'
import type { Server } from '../server.ts'
import { type Case, json, multipart, one, type Start, type TestedApplication } from '../shape.ts'
import { WEB_STREAM } from './streams.ts'

const page = (title: string, status: number, target: string): Case => one(title, status, target)

/** The id of a server action, read from the form of a page. */
async function actionOf(server: Server, target: string): Promise<string> {
  const { body } = await server.fetch({ target })
  const id = /\$ACTION_ID_([0-9a-f]+)/.exec(body.toString())?.[1]
  if (id === undefined) throw new Error(`${target} has no server action`)
  return id
}

/** Sends a server action as a browser without JavaScript does, and as Next's client does. */
function action(title: string, target: string, client: boolean): Case {
  return {
    title,
    async run(server) {
      const id = await actionOf(server, target)
      const fields = client ? { '0': '["$K1"]', '1_name': 'me' } : { [`$ACTION_ID_${id}`]: '', name: 'me' }
      const own: [string, string][] = client
        ? [
            ['Next-Action', id],
            ['Accept', 'text/x-component'],
          ]
        : []
      const request = multipart(target, fields, [['Origin', server.origin], ...own])
      const { status, headers, body, complete } = await server.fetch(request)
      const field = (name: string): string | undefined => headers.find(([other]) => other.toLowerCase() === name)?.[1]
      const text = body.toString()
      return {
        status,
        complete,
        location: field('location'),
        redirect: field('x-action-redirect'),
        type: field('content-type'),
        cookie: field('set-cookie'),
        // The target page of the redirect, which Next fetches from itself.
        done: text.includes('arrived as'),
        returned: /returned (\w+)/.exec(text)?.[1],
      }
    },
  }
}

const cases: readonly Case[] = [
  page('A page', 200, '/'),
  page('A static page', 200, '/static'),
  one('HEAD of a page', 200, '/', { method: 'HEAD' }),
  page('A page that is not there', 404, '/nowhere'),
  page('A redirect of the configuration', 307, '/old'),
  page('A redirect of a page', 307, '/moved'),
  page('A rewrite', 200, '/rewritten'),
  {
    title: 'A page for the router',
    async run(server) {
      const headers: Fields = [['RSC', '1']]
      const { status, headers: fields } = await server.fetch({ target: '/static', headers })
      const location = fields.find(([name]) => name.toLowerCase() === 'location')?.[1] ?? ''
      const answer = await server.fetch({ target: location.replace(server.origin, ''), headers })
      return { status, location, followed: answer.status, type: answer.headers.filter(([name]) => /type/i.test(name)) }
    },
  },
  page('A page of the pages folder', 200, '/classic'),
  page('An API route of the pages folder', 200, '/api/classic'),
  page('A file of the public folder', 200, '/file.txt'),
  notModified('/file.txt'),
  page('A route', 200, '/api/route?a=b'),
  { title: 'POST to a route', status: [200], requests: [json('/api/route', { a: 1 })] },
  {
    title: 'An upload',
    status: [200],
    requests: [multipart('/api/upload', { text: 'word', file: new Uint8Array(100_000).fill(66) })],
  },
  one('A method that a route lacks', 405, '/api/route', { method: 'DELETE' }),
  one('What middleware sets', 200, '/api/route', { headers: [['X-Ask', 'middleware']] }),
  one('Cookies', 200, '/api/cookies', { headers: [['Cookie', 'a=1']] }),
  one('A route that fails', 500, '/api/fails'),
  streamed('/api/stream', 'part', 50),
  suspended('/suspended', 'early', 'streamed part'),
  abortedStream('/api/stream?noted', 'stream closed'),
  abortedBeforeHead('/api/late', 'late answered'),
  action('A server action that redirects, without JavaScript', '/form', false),
  action('A server action that redirects', '/form', true),
  action('A server action that returns', '/form-returns', true),
  {
    title: 'The path of a server in pages',
    async run(server) {
      return server.read('/api/server')
    },
  },
]

/** The development server's own socket: whether it sends a message that is JSON. */
const reloading: Case = {
  title: 'The socket of the development server opens',
  async run(server) {
    await server.fetch({ target: '/' })
    const { socket, next } = await server.open('/_next/hmr?id=test', [], { headers: { Origin: server.origin } })
    const first = await next()
    socket.close()
    const { type, action: older } = JSON.parse(first) as { type?: string; action?: string }
    return { type: type ?? older }
  },
}

const varying: Start['varying'] = [
  [/"?b"?:"[\w-]{21}"/g, 'BUILD'],
  [/\\"b\\":\\"[\w-]{21}\\"/g, 'BUILD'],
  [/[?&](v|dpl|ts)=\d+/g, ''],
  [/nonce="[^"]+"/g, 'NONCE'],
]

/** The pages of a development server depend on when they were compiled: compare only responses of routes. */
const developed = cases.filter(
  ({ title }) =>
    /route|redirect|public|upload|POST|Cookies|comes|\/api/i.test(title) &&
    !/fails|router|action|of a page/.test(title),
)

export const next: TestedApplication = {
  name: 'Next.js',
  packages: { next: '16.4.6', react: '19.3.1', 'react-dom': '19.3.1' },
  files: {
    'next.config.mjs': `
export default {
  distDir: process.env.NEXT_KIND === 'standalone' ? '.next-standalone' : process.env.NEXT_KIND === 'dev' ? '.next-dev' : '.next',
  output: process.env.NEXT_KIND === 'standalone' ? 'standalone' : undefined,
  outputFileTracingRoot: import.meta.dirname,
  allowedDevOrigins: ['127.0.0.1'],
  generateBuildId: () => 'build',
  redirects: async () => [{ source: '/old', destination: '/static', permanent: false }],
  rewrites: async () => [{ source: '/rewritten', destination: '/static' }],
}
`,
    'middleware.js': `
import { NextResponse } from 'next/server'
export function middleware(request) {
  const response = NextResponse.next()
  response.headers.set('X-Middleware', request.headers.get('x-ask') ?? 'none')
  return response
}
export const config = { matcher: '/api/:path*' }
`,
    'lib.mjs': WEB_STREAM,
    'copy.mjs': `
import { cpSync } from 'node:fs'
cpSync('public', '.next-standalone/standalone/public', { recursive: true })
cpSync('.next-standalone/static', '.next-standalone/standalone/.next-standalone/static', { recursive: true })
`,
    'public/file.txt': 'a public file\n'.repeat(500),
    'app/layout.jsx':
      'export default function Layout({ children }) { return <html lang="en"><body>{children}</body></html> }\n',
    'app/page.jsx': `
export const dynamic = 'force-dynamic'
export default function Page() { return <h1>home</h1> }
`,
    'app/static/page.jsx': 'export default function Page() { return <p>static</p> }\n',
    'app/moved/page.jsx': `
import { redirect } from 'next/navigation'
export const dynamic = 'force-dynamic'
export default function Page() { redirect('/static') }
`,
    'app/suspended/page.jsx': `
import { Suspense } from 'react'
import { sleep } from '../../lib.mjs'
export const dynamic = 'force-dynamic'
async function Late() { await sleep(300); return <p id="late">{'streamed ' + 'part'}</p> }
export default function Page() { return <main><h1>early</h1><Suspense fallback={<i>wait</i>}><Late /></Suspense></main> }
`,
    'app/form/page.jsx': `
import { redirect } from 'next/navigation'
import { cookies } from 'next/headers'
export const dynamic = 'force-dynamic'
async function send(data) {
  'use server'
  const jar = await cookies()
  jar.set('sent', 'yes')
  redirect('/arrived?name=' + data.get('name'))
}
export default function Page() { return <form action={send}><input name="name" /><button>send</button></form> }
`,
    'app/form-returns/page.jsx': `
export const dynamic = 'force-dynamic'
async function send(data) {
  'use server'
  return 'returned ' + data.get('name')
}
export default function Page() { return <form action={send}><input name="name" /><button>send</button></form> }
`,
    'app/arrived/page.jsx': `
export const dynamic = 'force-dynamic'
export default async function Page({ searchParams }) { return <p>{'arrived as ' + (await searchParams).name}</p> }
`,
    'app/api/route/route.js': `
export async function GET(request) { return Response.json({ query: new URL(request.url).searchParams.get('a') }) }
export async function POST(request) { return Response.json({ got: await request.json() }) }
`,
    'app/api/upload/route.js': `
export async function POST(request) {
  const form = await request.formData()
  return Response.json({ text: form.get('text'), size: form.get('file').size })
}
`,
    'app/api/cookies/route.js': `
import { cookies } from 'next/headers'
export async function GET() {
  const jar = await cookies()
  jar.set('b', '2')
  return Response.json(jar.getAll().map(({ name, value }) => name + '=' + value))
}
`,
    'app/api/fails/route.js': `export async function GET() { throw new Error('fails') }\n`,
    'app/api/stream/route.js': `
import { streamOf } from '../../../lib.mjs'
export const dynamic = 'force-dynamic'
export async function GET(request) {
  return new Response(streamOf(50, 10, request.url.includes('noted') ? 'stream closed' : undefined), { headers: { 'Content-Type': 'text/plain' } })
}
`,
    'app/api/late/route.js': `
import { notes, sleep } from '../../../lib.mjs'
export const dynamic = 'force-dynamic'
export async function GET() { await sleep(900); notes.push('late answered'); return new Response('late') }
`,
    'app/api/slow/route.js': `
import { streamOf } from '../../../lib.mjs'
export const dynamic = 'force-dynamic'
export async function GET() { return new Response(streamOf(100, 10)) }
`,
    'app/notes/route.js': `
import { notes } from '../../lib.mjs'
export const dynamic = 'force-dynamic'
export async function GET() { return Response.json(notes) }
`,
    'pages/classic.jsx': `
export async function getServerSideProps({ req }) { return { props: { method: req.method } } }
export default function Page({ method }) { return <p>{'classic ' + method}</p> }
`,
    'pages/api/classic.js': `
export default function handler(req, res) { res.setHeader('X-Classic', 'yes').status(200).json({ method: req.method, query: req.query }) }
`,
    'pages/api/server.js': `
export default function handler(req, res) {
  const { server } = res.socket
  res.json({ has: typeof server?.on, seen: server ? (server.seen = (server.seen ?? 0) + 1) : 0 })
}
`,
  },
  build: [
    { bin: 'node_modules/next/dist/bin/next', args: ['build'], env: {} },
    { bin: 'node_modules/next/dist/bin/next', args: ['build'], env: { NEXT_KIND: 'standalone' } },
    // As its documentation says: static files are copied to the standalone server by hand.
    {
      bin: 'copy.mjs',
      args: [],
    },
  ],
  starts: [
    {
      title: 'next start',
      module: 'node_modules/next/dist/bin/next',
      args: (port) => ['start', '-p', String(port)],
      load: '/api/route',
      slow: '/api/slow',
      cases,
      varying,
    },
    {
      title: 'standalone',
      module: '.next-standalone/standalone/server.js',
      env: { HOSTNAME: '127.0.0.1', NEXT_KIND: 'standalone' },
      load: '/api/route',
      slow: '/api/slow',
      cases,
      varying,
    },
    {
      title: 'next dev',
      module: 'node_modules/next/dist/bin/next',
      args: (port) => ['dev', '-p', String(port)],
      env: { NODE_ENV: 'development', NEXT_KIND: 'dev' },
      // It listens in a child process, to which `gantry up` passes requests on; a container of its own cannot.
      arrangements: ['up', 'http'],
      load: '/api/route',
      slow: '/api/slow',
      cases: [...developed, reloading],
      varying,
    },
  ],
}
