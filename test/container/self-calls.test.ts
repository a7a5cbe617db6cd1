/**
 * Requests that an application sends to itself: how they are recognised, and that they need no slot, in each
 * arrangement.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { isSelf, type Target } from '../../container/self-calls.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import { startGantry } from '../support/gantry.ts'
import { until } from '../support/until.ts'

const at = (host: string | undefined, port = 3000) => [{ host, port, path: undefined }]

describe('isSelf', () => {
  for (const [own, targets, expected] of [
    [
      at(undefined),
      [
        'localhost',
        'LOCALHOST.',
        'shop.localhost',
        '127.0.0.1',
        '127.9.9.9',
        '::1',
        '::ffff:127.0.0.1',
        '',
        '0.0.0.0',
        '::',
      ],
      true,
    ],
    [at('::'), ['localhost', '127.0.0.1', '::1', hostname()], true],
    [at('0.0.0.0'), ['localhost', '127.0.0.1', hostname()], true],
    [at('0.0.0.0'), ['::1'], false],
    [at(undefined), ['::ffff:7f00:1', '::ffff:7f09:909'], true],
    [at('localhost'), ['localhost', '127.0.0.1', '::1', '', '0.0.0.0', '::', '::ffff:7f00:1'], true],
    [at('localhost'), ['127.0.0.2', '::ffff:7f00:2', hostname()], false],
    [at('127.0.0.1'), ['localhost', 'shop.localhost', '127.0.0.1', '', '0.0.0.0', '::ffff:7f00:1'], true],
    [at('127.0.0.1'), ['::1', '::', '127.0.0.2', hostname()], false],
    [at('127.0.0.2'), ['127.0.0.2', '::ffff:7f00:2'], true],
    [at('127.0.0.2'), ['localhost', 'shop.localhost', '', '0.0.0.0', '::', '127.0.0.1', '::1'], false],
    [at('::1'), ['localhost', '::1', '', '::'], true],
    [at('::1'), ['127.0.0.1', '0.0.0.0'], false],
    [at('app.internal'), ['app.internal', 'App.Internal'], true],
    [at('app.internal'), ['localhost', 'database.internal'], false],
    [at('10.1.2.3'), ['10.1.2.3'], true],
    [at('10.1.2.3'), ['localhost', '10.1.2.4'], false],
    [at(undefined), ['example.com', 'notlocalhost', '192.0.2.1', '2001:db8::1'], false],
  ] as const) {
    for (const host of targets) {
      it(`${expected ? 'accepts' : 'ignores'} a connection to ${JSON.stringify(host)} if it listens on ${own[0]?.host}`, () => {
        assert.equal(isSelf({ host, port: 3000 }, own), expected)
        assert.equal(isSelf({ host, port: '3000' }, own), expected)
        assert.equal(isSelf({ host, port: 3001 }, own), false)
        assert.equal(isSelf({ host, port: 3000, path: '/run/other.sock' }, own), false)
      })
    }
  }

  it('accepts a connection to the Unix socket of an application that listens on it, and to no port', () => {
    const own = [{ port: 0, host: undefined, path: '/run/app.sock' }]
    assert.ok(isSelf({ path: '/run/app.sock' }, own))
    for (const other of [{ path: '/run/other.sock' }, { port: 0 }, { host: 'localhost', port: 80 }] as Target[]) {
      assert.ok(!isSelf(other, own))
    }
  })

  it('ignores connections of an application that listens on any free port, or nowhere', () => {
    assert.ok(!isSelf({ host: 'localhost', port: 0 }, at(undefined, 0)))
    assert.ok(!isSelf({ host: 'localhost', port: 3000 }, []))
  })
})

const files: Record<string, string> = {
  // Each request calls the application again for each remaining host in its path.
  'listens.mjs': `
    import { createServer, get } from 'node:http'
    import { connect, Socket } from 'node:net'
    const PORT = Number(process.env.PORT)
    const text = (url) => fetch(url).then((response) => response.text())
    const other = createServer((req, res) => res.end('other')).listen(0, '127.0.0.1')
    const server = createServer(async (req, res) => {
      try {
        const [, kind, ...rest] = req.url.split('/')
        if (kind === 'inner') res.end('inner ' + req.headers.host + ' ' + req.socket.remoteAddress)
        else if (kind === 'said') res.end([req.socket.remoteAddress, req.headers['x-forwarded-for'], req.headers['x-forwarded-host']].join())
        else if (kind === 'copied') {
          const headers = { 'X-Forwarded-For': '203.0.113.9', 'X-Forwarded-Host': 'shop.example' }
          res.end(await (await fetch('http://localhost:' + PORT + '/said', { headers })).text())
        }
        else if (kind === 'other') res.end(await text('http://127.0.0.1:' + other.address().port))
        else if (kind === 'shown') res.end(await text('http://127.0.0.1:' + server.address().port + '/inner'))
        else if (kind === 'many') {
          // In one tick, each over its own connection.
          const all = Array.from({ length: 700 }, () => new Promise((resolve, reject) => {
            get({ port: PORT, path: '/inner', agent: false }, (inner) => inner.resume().on('end', resolve)).on('error', reject)
          }))
          res.end('all ' + (await Promise.all(all)).length)
        } else if (kind === 'again') {
          const ports = []
          const socket = new Socket()
          for (const port of [PORT, other.address().port]) {
            await new Promise((resolve, reject) => socket.on('error', reject).connect(port, '127.0.0.1', resolve))
            ports.push(socket.remotePort === port)
            await new Promise((resolve) => socket.once('close', resolve).destroy())
          }
          res.end(ports.join())
        } else if (kind === 'get') get({ port: PORT, path: '/inner', agent: false }, (inner) => inner.pipe(res))
        else if (kind === 'upgrade') {
          const socket = connect(PORT, () => socket.write('GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n'))
          socket.once('data', (head) => { res.end(String(head).split('\\r\\n')[0] + ' ' + socket.remotePort); socket.destroy() })
        } else res.end(kind + ' > ' + await text('http://' + kind + ':' + PORT + '/' + (rest.join('/') || 'inner')))
      } catch (error) { res.end(error + ' ' + error.cause) }
    })
    server.on('upgrade', (req, socket) => socket.end('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n'))
    server.listen(PORT)`,
  'path.mjs': `
    import { createServer, get } from 'node:http'
    createServer((req, res) => {
      if (req.url === '/inner') return res.end('inner')
      get({ socketPath: process.env.PORT, path: '/inner' }, (inner) => inner.pipe(res))
    }).listen(process.env.PORT)`,
  'exported.mjs': `
    export default {
      async fetch(request) {
        const { pathname } = new URL(request.url)
        if (pathname === '/inner') return new Response('inner')
        return new Response('outer ' + await (await fetch('http://localhost:' + process.env.PORT + '/inner')).text())
      },
    }`,
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-self-test-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
})
after(() => rmSync(directory, { recursive: true, force: true }))

/** A port without a listener that the system does not assign, because it is below the system's range. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, () => resolve(true))
    })
    server.close()
    if (isFree) return port
  }
}

interface Served {
  readonly port: number
  end(): Promise<void>
}

const ONE_SLOT = ['--interface=node', '--slots=1', '--access-log=off']

async function up(port: number, listen: string): Promise<Served> {
  const child = new TestChild(
    [repositoryFile('cli/gantry.ts'), 'up', join(directory, 'listens.mjs'), ...ONE_SLOT, '--listen', listen],
    { env: { PORT: String(port) } },
  )
  const url = /is served at http:\/\/\S+:(\d+)\//
  await child.until(() => url.test(child.stderr))
  return {
    port: Number(url.exec(child.stderr)![1]),
    end: async () => void (await child.insist('SIGTERM')),
  }
}

async function container(port: number | string, module: string, ...argv: string[]): Promise<Served> {
  const gantry = await startGantry(['container', join(directory, module), ...ONE_SLOT.slice(1), ...argv], {
    env: { PORT: String(port) },
  })
  return { port: gantry.port, end: () => gantry.child.end() }
}

async function joined(port: number): Promise<Served> {
  const socket = `unix:${join(directory, 'join.sock')}`
  const proxy = await startGantry(['proxy', '--listen=127.0.0.1:0', `--join-listen=${socket}`, '--access-log=off'])
  const served = await container(port, 'listens.mjs', '--interface=node', `--join=${socket}`)
  return { port: proxy.port, end: () => Promise.all([proxy.child.end(), served.end()]).then(() => {}) }
}

const arrangements: Readonly<Record<string, (port: number) => Promise<Served>>> = {
  'up, whose proxy listens on another port': (port) => up(port, '127.0.0.1:0'),
  'up, whose proxy listens on the same port': (port) => up(port, `:${port}`),
  'a container that joins a proxy': joined,
  'a container on the same port': (port) => container(port, 'listens.mjs', '--interface=node', `--listen=:${port}`),
  'a container on another port': (port) => container(port, 'listens.mjs', '--interface=node', '--listen=127.0.0.1:0'),
}

describe('an application that calls itself', () => {
  for (const [name, arrange] of Object.entries(arrangements)) {
    it(`is answered in ${name}, although its only slot is taken`, async () => {
      const port = await freePort()
      const served = await arrange(port)
      const ask = async (path: string): Promise<string> =>
        await (await fetch(`http://127.0.0.1:${served.port}${path}`)).text()
      try {
        for (const host of ['localhost', '127.0.0.1', '[::1]']) {
          assert.equal(await ask(`/${host}`), `${host} > inner ${host}:${port} 127.0.0.1`)
        }
        assert.equal(
          await ask('/localhost/127.0.0.1/localhost'),
          `localhost > 127.0.0.1 > localhost > inner localhost:${port} 127.0.0.1`,
        )
        assert.match(await ask('/shown'), /^inner 127\.0\.0\.1:\d+ 127\.0\.0\.1$/)
        assert.equal(await ask('/get'), `inner localhost:${port} 127.0.0.1`)
        assert.equal(await ask('/upgrade'), `HTTP/1.1 101 Switching Protocols ${port}`)
        assert.equal(await ask('/other'), 'other')
        // As on plain Node: Next.js compares the X-Forwarded-Host that it copied with Origin.
        assert.equal(await ask('/copied'), '127.0.0.1,203.0.113.9,shop.example')
      } finally {
        await served.end()
      }
    })
  }

  it('may call itself more often in one tick than Node’s default backlog allows', async () => {
    const served = await container(await freePort(), 'listens.mjs', '--interface=node', '--listen=127.0.0.1:0')
    assert.equal(await (await fetch(`http://127.0.0.1:${served.port}/many`)).text(), 'all 700')
    await served.end()
  })

  it('may use the socket of such a call for another connection', async () => {
    const served = await container(await freePort(), 'listens.mjs', '--interface=node', '--listen=127.0.0.1:0')
    assert.equal(await (await fetch(`http://127.0.0.1:${served.port}/again`)).text(), 'true,true')
    await served.end()
  })

  it('is answered over the Unix socket that it asked for', async () => {
    const served = await container(join(directory, 'app.sock'), 'path.mjs', '--interface=node', '--listen=127.0.0.1:0')
    assert.equal(await (await fetch(`http://127.0.0.1:${served.port}/`)).text(), 'inner')
    await served.end()
  })

  it('is answered on PORT if it is exported and does not listen', async () => {
    const served = await container(await freePort(), 'exported.mjs', '--listen=127.0.0.1:0')
    assert.equal(await (await fetch(`http://127.0.0.1:${served.port}/`)).text(), 'outer inner')
    await served.end()
  })

  it('opens no port for its calls, and removes its socket', async () => {
    const temporary = mkdtempSync(join(directory, 'tmp-'))
    const port = await freePort()
    const gantry = await startGantry(
      ['container', join(directory, 'listens.mjs'), '--interface=node', '--listen=127.0.0.1:0', '--access-log=off'],
      { env: { PORT: String(port), TMPDIR: temporary } },
    )
    assert.match(await (await fetch(`http://127.0.0.1:${gantry.port}/localhost`)).text(), /inner/)
    assert.equal(readdirSync(temporary).length, 1)
    await assert.rejects(fetch(`http://127.0.0.1:${port}/inner`), ({ cause }: Error) =>
      /ECONNREFUSED/.test(String(cause)),
    )
    gantry.child.process.kill('SIGTERM')
    await gantry.child.exited
    assert.deepEqual(readdirSync(temporary), [])
  })

  it('leaves a socket only until the next container starts, which removes no socket of a living process', async () => {
    const temporary = mkdtempSync(join(directory, 'tmp-'))
    const start = () =>
      startGantry(['container', join(directory, 'exported.mjs'), '--listen=127.0.0.1:0', '--access-log=off'], {
        env: { PORT: '3000', TMPDIR: temporary },
      })
    const [killed, living] = [await start(), await start()]
    try {
      const made: string[] = []
      for (const { port } of [killed, living]) {
        assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'outer inner')
        made.push(readdirSync(temporary).find((name) => !made.includes(name))!)
      }
      await killed.child.end()
      assert.deepEqual(readdirSync(temporary).sort(), made.toSorted())
      const next = await start()
      await until(() => readdirSync(temporary).length === 1)
      assert.deepEqual(readdirSync(temporary), [made[1]])
      assert.equal(await (await fetch(`http://127.0.0.1:${living.port}/`)).text(), 'outer inner')
      await next.child.end()
    } finally {
      await living.child.end()
    }
  })

  it('gets a warning if the directory for temporary files is not writable', async () => {
    const port = await freePort()
    const gantry = await startGantry(
      ['container', join(directory, 'listens.mjs'), '--interface=node', '--listen=127.0.0.1:0', '--access-log=off'],
      { env: { PORT: String(port), TMPDIR: join(directory, 'nowhere') } },
    )
    assert.match(await (await fetch(`http://127.0.0.1:${gantry.port}/localhost`)).text(), /ECONNREFUSED/)
    await gantry.child.until(() =>
      gantry.child.log.some(({ msg }) => /set TMPDIR to a writable directory/.test(String(msg))),
    )
    await gantry.child.end()
  })
})
