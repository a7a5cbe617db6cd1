/**
 * An application that imports its own copy of Gantry, of another version, and is served by this copy: it responds as
 * with its own copy, and one warning is logged.
 */

import assert from 'node:assert/strict'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { overHttp, type Running } from '../suites/arrangement.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import { type Answer, fields, type RequestOptions } from '../support/client.ts'
import { withDirectory } from '../support/directory.ts'
import { startGantry } from '../support/gantry.ts'
import { type InstalledCopy, installCopy } from '../support/package.ts'

/** A running server, and its log. */
interface Served {
  readonly port: number
  readonly processes: readonly TestChild[]
}

interface Way {
  readonly name: string
  /** The processes that load the application's copy beside another version. */
  readonly mixed: number
  start(copy: InstalledCopy): Promise<Served>
}

const own = repositoryFile('cli/gantry.ts')
const listen = ['--listen', '127.0.0.1:0', '--access-log', 'off']

async function container(copy: InstalledCopy, command?: string): Promise<Served> {
  const { port, child } = await startGantry(['container', join(copy.folder, 'app.js'), ...listen], { command })
  return { port, processes: [child] }
}

const ways: readonly Way[] = [
  { name: "gantry container of the application's copy", mixed: 0, start: (copy) => container(copy, copy.command) },
  { name: 'gantry container', mixed: 1, start: (copy) => container(copy) },
  {
    name: 'gantry up',
    mixed: 1,
    async start({ folder }) {
      const child = new TestChild([own, 'up', 'app.js', ...listen], { cwd: folder })
      const line = /^app\.js is served at http:\/\/[^:]+:(\d+)\/$/m
      await child.until(() => line.test(child.stderr))
      return { port: Number(line.exec(child.stderr)![1]), processes: [child] }
    },
  },
  {
    name: 'gantry proxy and container, both with its middleware',
    mixed: 2,
    async start(copy) {
      const middleware = ['--middleware', join(copy.folder, 'app.js')]
      const behind = await startGantry(['container', join(copy.folder, 'app.js'), ...listen, ...middleware])
      const upstream = ['--upstream', `tcp:127.0.0.1:${behind.port}`]
      const { port, child } = await startGantry(['proxy', ...listen, ...upstream, ...middleware])
      return { port, processes: [child, behind.child] }
    },
  },
]

/** The expected response: the status, and parts of the rest. */
interface Expected {
  readonly status: number
  readonly fields?: Readonly<Record<string, string>>
  readonly body?: string | RegExp
  /** Bytes of the body. */
  readonly length?: number
}

const retry = { 'Retry-After': '7' }
const chunked: Partial<RequestOptions> = { method: 'POST', chunked: true }
const cases: readonly [string, RequestOptions, Expected][] = [
  ['HttpError that is thrown', { target: '/throw' }, { status: 429, fields: retry }],
  ['HttpError that a promise rejects with', { target: '/reject' }, { status: 429, fields: retry }],
  [
    'basicAuth',
    { target: '/auth' },
    { status: 401, fields: { 'WWW-Authenticate': 'Basic realm="copies", charset="UTF-8"' } },
  ],
  [
    'basicAuth with a password',
    { target: '/auth', headers: [['Authorization', `Basic ${btoa('a:secret')}`]] },
    { status: 200, body: 'in' },
  ],
  ['bodyLimit, a declared length', { method: 'POST', target: '/limit', body: 'x'.repeat(11) }, { status: 413 }],
  ['bodyLimit, an unknown length', { ...chunked, target: '/limit', body: 'x'.repeat(11) }, { status: 413 }],
  [
    'bodyLimit, a body within it',
    { ...chunked, target: '/limit', body: 'x'.repeat(10) },
    { status: 200, body: 'x'.repeat(10) },
  ],
  ['bodyLimit around fromNode', { ...chunked, target: '/node-limit', body: 'x'.repeat(11) }, { status: 413 }],
  ['timeout', { target: '/timeout' }, { status: 504 }],
  [
    'a context derived by timeout',
    { target: '/timed', headers: [['X-Case', '1']] },
    { status: 200, body: /\["X-Case","1"\]/ },
  ],
  ['cache, a miss', { target: '/cache' }, { status: 200, body: 'answer 1' }],
  ['cache, a hit', { target: '/cache' }, { status: 200, body: 'answer 1' }],
  [
    'compress',
    { target: '/compress', headers: [['Accept-Encoding', 'gzip']] },
    { status: 200, fields: { 'Content-Encoding': 'gzip' } },
  ],
  ['staticFiles', { target: '/static/file.txt' }, { status: 200, length: 160_000 }],
  [
    'staticFiles, a range',
    { target: '/static/file.txt', headers: [['Range', 'bytes=0-6']] },
    { status: 206, body: 'content' },
  ],
  ['staticFiles, nothing there', { target: '/static/none.txt' }, { status: 404 }],
  ['errorPage', { target: '/page' }, { status: 429, fields: retry, body: 'our own page' }],
  [
    'fromNode',
    { target: '/node', headers: [['X-Case', '1']] },
    { status: 201, fields: { 'X-Method': 'GET' }, body: 'X-Case,1' },
  ],
  ['fromNode, a listener that throws HttpError', { target: '/node-throw' }, { status: 429, fields: retry }],
  [
    'fromFetch',
    { method: 'POST', target: '/fetch', body: 'sent' },
    { status: 202, fields: { 'X-Url': '/' }, body: 'sent' },
  ],
  ['fromFetch, a handler that throws HttpError', { target: '/fetch-throw' }, { status: 429, fields: retry }],
  ['fromFetch, a Host that is none', { target: '/fetch', headers: [['Host', 'a@b']] }, { status: 400 }],
  [
    'setHeader',
    { target: '/header', headers: [['X-Case', '1']] },
    { status: 200, body: '[["X-Case","1"],["X-Set","here"]]' },
  ],
  ['requestId', { target: '/id' }, { status: 200, body: 'true' }],
  ['fileBody', { target: '/file' }, { status: 200, length: 160_000 }],
  ['wsgi.file_wrapper', { target: '/wrapper' }, { status: 200, length: 160_000 }],
  ['lint', { method: 'POST', target: '/lint', body: 'watched' }, { status: 200, body: 'watched' }],
  ['lint, a broken rule', { target: '/broken' }, { status: 500 }],
  ['signals', { target: '/failing' }, { status: 429 }],
  ['signals: an HttpError below 500 is no failure', { target: '/failed' }, { status: 200, body: '[]' }],
]

function matches(answer: Answer, expected: Expected): void {
  assert.equal(answer.status, expected.status)
  for (const [name, value] of Object.entries(expected.fields ?? {})) assert.deepEqual(fields(answer, name), [value])
  assert.ok(answer.complete, answer.error)
  if (expected.length !== undefined) assert.equal(answer.body.length, expected.length)
  if (typeof expected.body === 'string') assert.equal(answer.body.toString(), expected.body)
  else if (expected.body) assert.match(answer.body.toString(), expected.body)
}

describe('an application with a copy of Gantry of its own', () => {
  let copy: InstalledCopy
  let end: (() => void) | undefined
  let ended: Promise<void>

  before(async () => {
    const ready = Promise.withResolvers<void>()
    ended = withDirectory(async (folder) => {
      copy = installCopy(folder, '9.9.9')
      writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
      copyFileSync(repositoryFile('test/copies/app.js'), join(folder, 'app.js'))
      ready.resolve()
      await new Promise<void>((resolve) => (end = resolve))
    })
    ended.catch(ready.reject)
    await ready.promise
  })
  after(async () => {
    end?.()
    await ended
  })

  for (const { name, mixed, start } of ways) {
    describe(`under ${name}`, () => {
      let served: Served
      let running: Running

      before(async () => {
        served = await start(copy)
        running = overHttp({ port: served.port }, async () => {
          await Promise.all(served.processes.map((child) => child.end()))
        })
      })
      after(() => running?.close())

      for (const [what, options, expected] of cases) {
        it(`${what}: ${expected.status}`, async () => matches(await (await running.open(options)).whole(), expected))
      }

      it("a client's disconnect reaches the application as an AbortError of its copy", async () => {
        const sent = await running.open({ target: '/leave' })
        await sent.has(5)
        sent.abort('reset')
        const { body } = await (await running.open({ target: '/left' })).whole()
        assert.equal(body.toString(), '[true,false,"CLIENT_GONE"]')
      })

      if (mixed === 2) {
        it('its middleware works in either process', async () => {
          matches(await (await running.open({ target: '/forbidden' })).whole(), {
            status: 403,
            body: 'the page of a middleware',
          })
          const large = { ...chunked, target: '/lint', body: 'x'.repeat(2000) }
          matches(await (await running.open(large)).whole(), { status: 413 })
        })
      }

      it(`${mixed === 0 ? 'no' : 'one'} warning about two versions is logged in each process that has both`, async () => {
        const said = (child: TestChild): string[] =>
          child.log
            .map(({ msg }) => String(msg))
            .filter((line) => line.startsWith('two versions of Gantry are loaded: '))
        if (mixed > 0) await Promise.all(served.processes.map((child) => child.until(() => said(child).length > 0)))
        const lines = served.processes.flatMap(said)
        assert.equal(lines.length, mixed)
        for (const line of lines) assert.match(line, /imports 9\.9\.9 \(.*node_modules\/gantry\); install/)
      })
    })
  }
})
