/**
 * `--drain-delay` in processes: who gets notice when, and which signals skip the delay. A delay of a minute stands for
 * one that is skipped: a process that waited for it would not end within the test.
 */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { repositoryFile, TestChild } from '../support/child.ts'
import { fields } from '../support/client.ts'
import { withDirectory } from '../support/directory.ts'
import { FIXTURES, type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { freePort } from '../support/sockets.ts'
import { until } from '../support/until.ts'

const NODE = [repositoryFile('test/apps/listening/databases.ts'), '--interface', 'node']
const LISTEN = ['--listen', '127.0.0.1:0']
const LONG = ['--drain-delay', '10m', '--access-log', 'off']
const LEAVING = 'draining soon: requests are accepted until --drain-delay ends'

async function withServer(argv: readonly string[], body: (server: Gantry) => Promise<void>): Promise<void> {
  const server = await startGantry(argv)
  try {
    await body(server)
  } finally {
    await server.child.end()
  }
}

async function post(port: number): Promise<string> {
  const client = await HttpClient.connect({ port, host: '127.0.0.1' })
  const answer = await client.fetch({ method: 'POST', target: '/', body: 'x' })
  client.destroy()
  return `${answer.status} ${fields(answer, 'connection').join()} ${answer.body}`
}

describe('after SIGTERM, during the drain delay', () => {
  it('an application that closes everything at SIGTERM still serves, and receives the signal after the delay', () =>
    withServer(
      ['container', ...NODE, ...LISTEN, '--drain-delay', '1s', '--access-log', 'off'],
      async ({ child, port }) => {
        assert.match(await post(port), /^200 .*open$/)
        child.process.kill('SIGTERM')
        await child.until(() => child.logged(LEAVING))
        // Whether it is accepted depends on the machine; what is accepted is served.
        const answer = await post(port).catch(() => 'refused')
        if (answer !== 'refused') assert.equal(answer, '200 close open')
        assert.deepEqual(await child.exited, { code: 5, signal: null })
        assert.equal(child.stderr, 'the application got SIGTERM\nits server is closed\n')
      },
    ))

  it('a second SIGTERM ends the process at once', () =>
    withServer(['container', ...NODE, ...LISTEN, ...LONG], async ({ child, port }) => {
      assert.match(await post(port), /^200 /)
      child.process.kill('SIGTERM')
      await child.until(() => child.logged(LEAVING))
      assert.equal(await post(port), '200 close open')
      assert.deepEqual(await child.insist('SIGTERM'), { code: 143, signal: null })
      assert.equal(child.stderr, '')
    }))
})

/** Ways to one server that stops. `behind` is the port of a container that does not. */
const ways: Record<string, (behind: number) => string[]> = {
  "a container's HTTP port": () => ['container', FIXTURES],
  'a proxy over frames': (behind) => ['proxy', '--upstream', `tcp:127.0.0.1:${behind}`],
  'a proxy over HTTP': (behind) => ['proxy', '--upstream', `http://127.0.0.1:${behind}`],
  'a proxy of two workers': (behind) => ['proxy', '--workers', '2', '--upstream', `tcp:127.0.0.1:${behind}`],
  'gantry up': () => ['up', FIXTURES],
}

/** Starts the server of a way, with a client that has an idle connection to it. */
async function withIdle(
  way: string,
  options: readonly string[],
  body: (child: TestChild, client: HttpClient, port: number) => Promise<void>,
): Promise<void> {
  await withServer(['container', FIXTURES, ...LISTEN, '--access-log', 'off'], async (behind) => {
    const argv = [...ways[way]!(behind.port), ...LISTEN, ...options, '--access-log', 'off']
    const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv], { patience: 120_000 })
    try {
      const portOf = (): string | undefined =>
        /is served at http:\/\/[^:]+:(\d+)/.exec(child.stderr)?.[1] ??
        /127\.0\.0\.1:(\d+)/.exec(String(child.log.find(({ msg }) => msg === 'ready')?.['addresses']))?.[1]
      await child.until(() => (argv[0] === 'up' ? /is served at/.test(child.stderr) : child.logged('ready')))
      if (argv.includes('--workers')) {
        await child.until(() => child.log.filter(({ msg }) => msg === 'a worker serves').length === 2)
      }
      const port = Number(portOf())
      const client = await HttpClient.connect({ port, host: '127.0.0.1' })
      assert.equal((await client.fetch({ target: '/hello' })).status, 200)
      await body(child, client, port)
      client.destroy()
    } finally {
      await child.end()
    }
  })
}

for (const way of Object.keys(ways)) {
  describe(`${way}, after SIGTERM`, () => {
    it('serves kept and new connections during the delay, and each response is the last', () =>
      withIdle(way, ['--drain-delay', '10m'], async (child, client, port) => {
        child.process.kill('SIGTERM')
        await child.until(() => child.logged(LEAVING))
        // Workers get the signal one after the other: repeat until the worker of this connection has got it.
        const kept = await lastResponse(() => client, port)
        assert.equal(kept, '200 close')
        assert.equal(await lastResponse(() => undefined, port), '200 close')
        assert.deepEqual(await child.insist('SIGTERM'), { code: 143, signal: null })
      }))

    it('answers a late request on an idle connection after the listener has closed, and then ends', () =>
      withIdle(way, ['--keep-alive-grace', '10m', '--drain-timeout', '1h'], async (child, client, port) => {
        child.process.kill('SIGTERM')
        await until(() => isRefused(port))
        const late = await client.fetch({ method: 'POST', target: '/hello', body: 'late' })
        assert.deepEqual([late.status, fields(late, 'connection')], [200, ['close']])
        client.destroy()
        assert.deepEqual(await child.exited, { code: 0, signal: null })
      }))
  })
}

/** Sends POSTs until a response is the last of its connection. @returns its status and Connection */
async function lastResponse(first: () => HttpClient | undefined, port: number): Promise<string> {
  let client = first()
  for (;;) {
    client ??= await HttpClient.connect({ port, host: '127.0.0.1' })
    const answer = await client.fetch({ method: 'POST', target: '/hello', body: 'x' })
    const said = `${answer.status} ${fields(answer, 'connection').join()}`
    if (said === '200 ') continue
    client.destroy()
    return said
  }
}

async function isRefused(port: number): Promise<boolean> {
  try {
    const client = await HttpClient.connect({ port, host: '127.0.0.1' })
    client.destroy()
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED'
  }
}

describe('the drain delay is skipped', () => {
  for (const signal of ['SIGINT', 'SIGHUP'] as const) {
    it(`at ${signal}, by a container and a proxy`, async () => {
      await withServer(['container', FIXTURES, ...LISTEN, ...LONG], async (container) => {
        assert.match(await post(container.port), /^\d/)
        const upstream = `http://127.0.0.1:${container.port}`
        await withServer(['proxy', ...LISTEN, '--upstream', upstream, ...LONG], async (proxy) => {
          await post(proxy.port)
          for (const { child } of [proxy, container]) {
            child.process.kill(signal)
            assert.deepEqual(await child.exited, { code: 0, signal: null })
            assert.ok(!child.logged(LEAVING))
          }
        })
      })
    })
  }

  it('at SIGTERM before the server has started', () =>
    withDirectory(async (directory) => {
      const middleware = join(directory, 'middleware.mjs')
      // Once the handler has run, this module ends loading.
      const waiting = `await new Promise((resolve) => process.once('SIGTERM', resolve).kill(process.pid, 'SIGTERM'))`
      writeFileSync(middleware, `${waiting}\nexport const middleware = (application) => application\n`)
      const argv = ['proxy', ...LISTEN, '--upstream', 'unix:/nowhere', '--middleware', middleware, ...LONG]
      await withServer(argv, async ({ child }) => {
        assert.deepEqual(await child.exited, { code: 0, signal: null })
        assert.ok(!child.logged(LEAVING))
      })
    }))

  it('by all workers of a proxy whose supervisor gets SIGINT', () =>
    withServer(['proxy', ...LISTEN, '--upstream', 'unix:/nowhere', '--workers', '2', ...LONG], async ({ child }) => {
      child.process.kill('SIGINT')
      assert.deepEqual(await child.exited, { code: 0, signal: null })
    }))

  it('by a container that has served only proxies', async () => {
    const address = `127.0.0.1:${await freePort()}`
    await withServer(['proxy', ...LISTEN, '--upstream', `tcp:${address}`, '--access-log', 'off'], async (proxy) => {
      await withServer(['container', FIXTURES, '--listen', address, ...LONG], async ({ child }) => {
        assert.match(await post(proxy.port), /^\d/)
        child.process.kill('SIGTERM')
        assert.deepEqual(await child.exited, { code: 0, signal: null })
      })
    })
  })

  it('by `gantry up` at SIGINT; at SIGTERM its proxy alone delays', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const delay = signal === 'SIGINT' ? '10m' : '100ms'
      const argv = ['up', ...NODE, ...LISTEN, '--drain-delay', delay, '--access-log', 'off']
      const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv], { patience: 120_000 })
      try {
        await child.until(() => /is served at/.test(child.stderr))
        child.process.kill(signal)
        assert.deepEqual(await child.exited, { code: signal === 'SIGTERM' ? 5 : 0, signal: null })
        const left = child.log.filter(({ msg }) => msg === LEAVING).map(({ name }) => name)
        assert.deepEqual(left, signal === 'SIGTERM' ? ['proxy'] : [])
      } finally {
        await child.end()
      }
    }
  })
})
