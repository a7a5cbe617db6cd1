import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { repositoryFile, TestChild } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { until } from '../support/until.ts'

interface Pair {
  child: TestChild
  /** The folder in which its private directory is created. */
  directory: string
  /** The process id of a role, from its log. */
  id(role: 'container' | 'proxy'): number
}

async function withPair(
  mode: string,
  body: (pair: Pair) => Promise<void>,
  argv: readonly string[] = [],
): Promise<void> {
  await withDirectory(async (directory) => {
    const env = { TMPDIR: directory, FIXTURE_MODE: mode, GANTRY_UPSTREAM: 'elsewhere:1' }
    const child = new TestChild([repositoryFile('test/fixtures/up.ts'), 'app.ts', ...argv], { env })
    const id = (role: string): number => {
      const line = child.log.findLast((one) => one['name'] === role && one['msg'] === 'ready')
      return line!['pid'] as number
    }
    try {
      await body({ child, directory, id })
    } finally {
      await child.end()
    }
  })
}

/** Waits for the line with the URL, and for the log lines of both processes, which may be written later. */
function served(child: TestChild): Promise<void> {
  const line = /^app\.ts is served at http:\/\/localhost:4711\/$/m
  return child.until(() => line.test(child.stderr) && readies(child, 'container') > 0 && readies(child, 'proxy') > 0)
}

function readies(child: TestChild, role: string): number {
  return child.log.filter((line) => line['name'] === role && line['msg'] === 'ready').length
}

test('prints one line with the URL when both processes serve, over a directory that only this user may enter', () =>
  withPair(
    '',
    async ({ child, directory }) => {
      await served(child)
      assert.equal(readies(child, 'container'), 1)
      const [name] = readdirSync(directory)
      assert.equal(statSync(`${directory}/${name}`).mode & 0o777, 0o700)
      const said = child.log.map((line) => String(line['msg'])).filter((message) => message.includes('--'))
      assert.deepEqual(said, [
        `container --listen=unix:${directory}/${name}/container.sock --pass-to-child -- app.ts clean`,
        `proxy --upstream=unix:${directory}/${name}/container.sock --listen=:4711 clean`,
      ])
    },
    ['--listen', ':4711'],
  ))

test('an application that ends before it serves gives its exit code', () =>
  withPair('exits-container', async ({ child }) => {
    assert.deepEqual(await child.exited, { code: 3, signal: null })
  }))

test('a signal drains the proxy first, then the container, and leaves nothing behind', () =>
  withPair('', async ({ child, directory }) => {
    await served(child)
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    const ends = child.log.filter((line) => line['msg'] === 'stopped').map((line) => line['name'])
    assert.deepEqual(ends, ['proxy', 'container'])
    assert.deepEqual(readdirSync(directory), [])
  }))

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  test(`${signal} reaches the container once, as it is, and the proxy as SIGTERM`, () =>
    withPair('', async ({ child }) => {
      await served(child)
      child.process.kill(signal)
      assert.deepEqual(await child.exited, { code: 0, signal: null })
      const drains = child.log.filter((line) => line['msg'] === 'draining')
      assert.deepEqual(
        drains.map((line) => [line['name'], line['reason']]),
        [
          ['proxy', 'SIGTERM'],
          ['container', signal],
        ],
      )
    }))
}

test('an application that handles SIGINT alone runs its handler on Ctrl-C', () =>
  withDirectory(async (directory) => {
    const application = join(directory, 'app.mjs')
    writeFileSync(
      application,
      `import { createServer } from 'node:http'
      const server = createServer((_req, res) => res.end('hello')).listen(0)
      process.on('SIGINT', () => {
        console.error('the application heard SIGINT')
        server.close(() => process.exit(7))
      })`,
    )
    const child = new TestChild([
      repositoryFile('cli/gantry.ts'),
      'up',
      application,
      '--interface',
      'node',
      '--listen',
      '127.0.0.1:0',
    ])
    try {
      await child.until(() => /app\.mjs is served at/.test(child.stderr))
      child.process.kill('SIGINT')
      // The exit code of the application: a container that mistook another signal for the second one would exit with
      // 130.
      assert.deepEqual(await child.exited, { code: 7, signal: null })
      assert.equal(child.stderr.match(/the application heard SIGINT/g)?.length, 1)
    } finally {
      await child.end()
    }
  }))

test('a stop with a WebSocket open logs no container that cannot be reached', () =>
  withDirectory(async (directory) => {
    const application = join(directory, 'app.mjs')
    writeFileSync(
      application,
      `import { createServer } from 'node:http'
      createServer((_req, res) => res.end('hello'))
        .on('upgrade', (_req, socket) => socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n'))
        .listen(0)`,
    )
    const command = ['up', application, '--interface', 'node', '--listen', '127.0.0.1:0', '--drain-timeout', '1500ms']
    const child = new TestChild([repositoryFile('cli/gantry.ts'), ...command])
    const url = /is served at http:\/\/127\.0\.0\.1:(\d+)/
    await child.until(() => url.test(child.stderr))
    const socket = connect(Number(url.exec(child.stderr)![1]), '127.0.0.1')
    try {
      socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      assert.match(String(await once(socket, 'data')), /^HTTP\/1\.1 101 /)
      child.process.kill('SIGTERM')
      assert.deepEqual(await child.exited, { code: 0, signal: null })
      const messages = child.log.map(({ msg }) => String(msg))
      assert.ok(messages.includes('the drain timeout has passed: running requests are aborted'))
      assert.deepEqual(
        messages.filter((message) => message.includes('cannot be reached')),
        [],
      )
    } finally {
      socket.destroy()
      await child.end()
    }
  }))

test('the directory of a supervisor that was killed is removed by the next one', () =>
  withDirectory(async (directory) => {
    const start = (): TestChild =>
      new TestChild([repositoryFile('test/fixtures/up.ts'), 'app.ts'], { env: { TMPDIR: directory, FIXTURE_MODE: '' } })
    const killed = start()
    await served(killed)
    const [left] = readdirSync(directory)
    await killed.end()
    const next = start()
    await served(next)
    await until(() => readdirSync(directory).length === 1)
    assert.notEqual(readdirSync(directory)[0], left)
    await next.stop()
    assert.deepEqual(readdirSync(directory), [])
  }))

test('a second signal ends all at once', () =>
  withPair('hangs-proxy', async ({ child, directory, id }) => {
    await served(child)
    const ids = [id('proxy'), id('container')]
    child.process.kill('SIGINT')
    await child.until(() => child.logged('proxy drains'))
    // Its output ends only when both children have exited too.
    assert.deepEqual(await child.insist('SIGINT'), { code: 130, signal: null })
    for (const one of ids) assert.equal(existsSync(`/proc/${one}/exe`), false)
    assert.deepEqual(readdirSync(directory), [])
  }))

test('a container that was killed is restarted, and the proxy continues', () =>
  withPair('', async ({ child, id }) => {
    await served(child)
    const [container, proxy] = [id('container'), id('proxy')]
    process.kill(container, 'SIGKILL')
    const back = /^gantry: the container serves again$/m
    await child.until(() => back.test(child.stderr) && readies(child, 'container') === 2)
    assert.match(child.stderr, /^gantry: the container ended \(SIGKILL\): restarting it in \d+ ms$/m)
    assert.notEqual(id('container'), container)
    assert.equal(id('proxy'), proxy)
    assert.equal(readies(child, 'proxy'), 1)
  }))

test('an application that listens in a child process after a restart gets a proxy that sends requests there', () =>
  withPair('moves', async ({ child, id }) => {
    await served(child)
    process.kill(id('container'), 'SIGKILL')
    await child.until(() => readies(child, 'proxy') === 2)
    const said = child.log.map((line) => String(line['msg'])).filter((message) => message.startsWith('proxy --'))
    assert.match(said[0]!, /^proxy --upstream=unix:/)
    assert.match(said[1]!, /^proxy --upstream=http:\/\/127\.0\.0\.1:4712\/ /)
    assert.match(child.stderr, /^gantry: app\.ts listens in a child process, at http:\/\/127\.0\.0\.1:4712\//m)
  }))

test('when both are killed at once, both are restarted', () =>
  withPair('', async ({ child, id }) => {
    await served(child)
    for (const one of [id('container'), id('proxy')]) process.kill(one, 'SIGKILL')
    await child.until(() => readies(child, 'container') === 2 && readies(child, 'proxy') === 2)
    assert.match(child.stderr, /^gantry: the proxy ended \(SIGKILL\)/m)
  }))

test('an application that cannot be loaded is reported, and exits with 1', () =>
  withPair('refuses-container', async ({ child, directory }) => {
    assert.deepEqual(await child.exited, { code: 1, signal: null })
    assert.equal(child.stderr, 'gantry container: cannot be loaded\n')
    assert.deepEqual(readdirSync(directory), [])
  }))

test('a proxy that cannot start ends the container too', () =>
  withPair('refuses-proxy', async ({ child, directory }) => {
    assert.deepEqual(await child.exited, { code: 1, signal: null })
    assert.equal(child.stderr, 'gantry proxy: cannot be loaded\n')
    assert.equal(child.log.filter((line) => line['msg'] === 'stopped').length, 1)
    assert.deepEqual(readdirSync(directory), [])
  }))

test('when it is killed, its children drain by themselves', () =>
  withPair('', async ({ child }) => {
    await served(child)
    child.process.kill('SIGKILL')
    // The output stays open while a child runs.
    assert.deepEqual(await child.exited, { code: null, signal: 'SIGKILL' })
    const ends = child.log.filter((line) => line['msg'] === 'stopped').map((line) => line['name'])
    assert.deepEqual(ends.sort(), ['container', 'proxy'])
  }))

test('an application that calls process.disconnect() is served, and its pair ends by a signal alone', () =>
  withDirectory(async (directory) => {
    const module = join(directory, 'app.mjs')
    writeFileSync(module, 'process.disconnect?.()\nexport default (_, response) => response.end("served")\n')
    const argv = ['up', module, '--interface', 'node', '--listen', '127.0.0.1:0']
    const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv])
    try {
      const url = /is served at (\S+)/
      await child.until(() => url.test(child.stderr))
      const answer = await fetch(url.exec(child.stderr)![1]!)
      assert.equal(await answer.text(), 'served')
      assert.ok(!child.log.some(({ msg }) => msg === 'draining'))
      child.process.kill('SIGTERM')
      assert.deepEqual(await child.exited, { code: 0, signal: null })
    } finally {
      await child.end()
    }
  }))
