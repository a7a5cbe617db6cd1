/** Each framework's example on plain Node and, unchanged, in the pair: both give the same responses. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { WebSocket } from 'ws'
import { repositoryFile, TestChild } from '../support/child.ts'
import { startGantry } from '../support/gantry.ts'
import { freePort } from '../support/sockets.ts'

interface Example {
  readonly name: string
  readonly module: string
  /** The arguments of the README's command line after the module. */
  readonly options?: readonly string[]
  /** How plain Node ends: NestJS sends the signal to the process again. */
  readonly ends?: { code: number | null; signal: string | null }
}

const examples: readonly Example[] = [
  { name: 'express', module: 'examples/express/app.ts', options: ['--interface', 'node'] },
  { name: 'koa', module: 'examples/koa/app.ts' },
  { name: 'fastify', module: 'examples/fastify/app.ts' },
  { name: 'hono', module: 'examples/hono/app.ts', options: ['--interface', 'node'] },
  {
    name: 'nest',
    module: 'examples/nest/dist/main.js',
    options: ['--interface', 'node'],
    ends: { code: null, signal: 'SIGTERM' },
  },
]

interface Site {
  readonly child: TestChild
  /** The URL, without a slash at the end. */
  readonly url: string
}

const ways: Record<string, (example: Example) => Promise<Site>> = {
  'on plain Node': async ({ module }) => {
    const port = await freePort()
    const child = new TestChild([repositoryFile(module)], { env: { PORT: String(port) } })
    await child.until(() => child.stdout.includes('listening'))
    return { child, url: `http://127.0.0.1:${port}` }
  },
  'in the pair': async ({ module, options = [] }) => {
    const argv = [repositoryFile('cli/gantry.ts'), 'up', repositoryFile(module), ...options, '--listen', '127.0.0.1:0']
    const child = new TestChild(argv)
    const line = / is served at (\S+)\/$/m
    await child.until(() => line.test(child.stderr))
    return { child, url: line.exec(child.stderr)![1]! }
  },
}

before(() => {
  execFileSync(process.execPath, [
    repositoryFile('node_modules/typescript/bin/tsc'),
    '-p',
    repositoryFile('examples/nest'),
  ])
})

for (const example of examples) {
  for (const [way, start] of Object.entries(ways)) {
    describe(`the ${example.name} example, ${way}`, { concurrency: false }, () => {
      let site: Site
      // One connection for each request: only running requests can delay the server's stop.
      const ask = (path: string, { headers, ...init }: RequestInit & { headers?: Record<string, string> } = {}) =>
        fetch(`${site.url}${path}`, { ...init, headers: { ...headers, connection: 'close' } })

      before(async () => {
        site = await start(example)
      })
      after(() => site?.child.end())

      test('serves its page', async () => {
        const answer = await ask('/')
        assert.match(answer.headers.get('content-type')!, /^text\/html/)
        assert.equal(await answer.text(), readFileSync(repositoryFile('examples/express/public/index.html'), 'utf8'))
      })

      test('logs in by a form, and counts how often in a session that cannot be forged', async () => {
        let cookies = ''
        for (const count of [1, 2, 3]) {
          const answer = await ask('/login', {
            method: 'POST',
            body: new URLSearchParams({ name: 'Ada Ž' }),
            headers: { cookie: cookies },
            redirect: 'manual',
          })
          assert.equal(answer.status, 303)
          assert.equal(answer.headers.get('location'), '/me')
          await answer.text()
          cookies = answer.headers
            .getSetCookie()
            .map((one) => one.slice(0, one.indexOf(';')))
            .join('; ')
          const me = await ask('/me', { headers: { cookie: cookies } })
          assert.match(me.headers.get('content-type')!, /^text\/plain/)
          assert.equal(await me.text(), `Ada Ž, logged in ${count} times\n`)
        }
        for (const cookie of ['', cookies.replace(/.$/, '')]) {
          const stranger = await ask('/me', { headers: { cookie } })
          assert.equal(stranger.status, 401)
          await stranger.text()
        }
      })

      test('hashes an upload', async () => {
        const bytes = randomBytes(2_000_000)
        const form = new FormData()
        form.set('file', new File([bytes], 'cargo.bin'))
        const answer = await ask('/upload', { method: 'POST', body: form })
        const sha256 = createHash('sha256').update(bytes).digest('hex')
        assert.deepEqual(await answer.json(), { name: 'cargo.bin', size: bytes.length, sha256 })
      })

      test('sends each event as it happens', async () => {
        const controller = new AbortController()
        const answer = await ask('/clock', { signal: controller.signal })
        assert.match(answer.headers.get('content-type')!, /^text\/event-stream/)
        let seen = ''
        for await (const chunk of answer.body!) {
          seen += Buffer.from(chunk).toString()
          if (seen.split('data: ').length > 2) break
        }
        const [first, second] = [...seen.matchAll(/data: (.*)\n/g)].map(([, time]) => Date.parse(time!))
        assert.ok(second! - first! > 500, seen)
        controller.abort()
      })

      test('carries a chat from one client to another', async () => {
        const chat = `${site.url.replace('http', 'ws')}/chat`
        const [one, other] = [new WebSocket(chat), new WebSocket(chat)]
        await Promise.all([once(one, 'open'), once(other, 'open')])
        const lines = ['Ahoy, Žofie', 'x'.repeat(200_000)]
        for (const [at, line] of lines.entries()) {
          const heard = Promise.all([once(one, 'message'), once(other, 'message')])
          ;(at === 0 ? one : other).send(line)
          for (const [message] of await heard) assert.ok(String(message) === line)
        }
        const closed = Promise.all([once(one, 'close'), once(other, 'close')])
        one.close(1000)
        other.close(1000)
        for (const [code] of await closed) assert.equal(code, 1000)
      })

      test('finishes running requests when it is stopped', async () => {
        const upload = await begunUpload(site.url)
        site.child.process.kill('SIGTERM')
        await refused(site.url)
        assert.deepEqual(await upload.finish(), { name: 'cargo.txt', size: 12, sha256: CARGO_SHA256 })
        const ends = way === 'in the pair' ? undefined : example.ends
        assert.deepEqual(await site.child.exited, ends ?? { code: 0, signal: null })
        assert.deepEqual(
          site.child.log.filter((line) => line['level'] === 'error'),
          [],
        )
      })
    })
  }
}

for (const { name, module, options = [] } of examples) {
  test(`the ${name} example in a container that is stopped closes its chat, and then exits`, async () => {
    const argv = ['container', repositoryFile(module), ...options, '--listen', '127.0.0.1:0', '--access-log', 'off']
    const { child, port } = await startGantry(argv)
    try {
      const chat = new WebSocket(`ws://127.0.0.1:${port}/chat`)
      await once(chat, 'open')
      const closed = once(chat, 'close')
      child.process.kill('SIGTERM')
      // Fastify's plugin sends no close code: 1005 means that there is none.
      assert.equal((await closed)[0], name === 'fastify' ? 1005 : 1001)
      assert.deepEqual(await child.exited, { code: 0, signal: null })
    } finally {
      await child.end()
    }
  })
}

test('an application under gantry up closes its chat itself, long before the drain timeout', async () => {
  const argv = ['up', repositoryFile('examples/koa/app.ts'), '--listen', '127.0.0.1:0', '--drain-timeout', '1h']
  const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv])
  const line = / is served at http(\S+)\/$/m
  await child.until(() => line.test(child.stderr))
  try {
    const chat = new WebSocket(`ws${line.exec(child.stderr)![1]}/chat`)
    await once(chat, 'open')
    const closed = once(chat, 'close')
    child.process.kill('SIGTERM')
    assert.equal((await closed)[0], 1001)
    assert.deepEqual(await child.exited, { code: 0, signal: null })
  } finally {
    await child.end()
  }
})

const CARGO_SHA256 = createHash('sha256').update('two halves.\n').digest('hex')

/** An upload of which the server has read the first half. */
async function begunUpload(url: string): Promise<{ finish(): Promise<unknown> }> {
  const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="cargo.txt"\r\n\r\ntwo '
  const tail = 'halves.\n\r\n--b--\r\n'
  const sent: ClientRequest = request(`${url}/upload`, {
    method: 'POST',
    agent: new Agent({ keepAlive: false }),
    headers: {
      'Content-Type': 'multipart/form-data; boundary=b',
      'Content-Length': head.length + tail.length,
      // The server sends this response when it reads the body: the request has begun.
      Expect: '100-continue',
    },
  })
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>
  sent.flushHeaders()
  await once(sent, 'continue')
  sent.write(head)
  return {
    finish: async () => {
      sent.end(tail)
      const [answer] = await answered
      return JSON.parse(await text(answer))
    },
  }
}

/** Resolves when no process accepts new connections at the address. */
async function refused(url: string): Promise<void> {
  const { hostname, port } = new URL(url)
  const taken = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(Number(port), hostname)
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
  while (await taken()) await new Promise((resolve) => setTimeout(resolve, 20))
}

test('the examples type-check', () => {
  const compiler = repositoryFile('node_modules/typescript/bin/tsc')
  execFileSync(process.execPath, [compiler, '--noEmit', '-p', repositoryFile('examples')])
})

test('all examples have the same page', () => {
  const [first, ...others] = examples.map(({ name }) =>
    readFileSync(repositoryFile(`examples/${name}/public/index.html`)),
  )
  for (const other of others) assert.deepEqual(other, first)
})
