/**
 * `--drain-delay` in processes: who is told when, and which signals skip it. A delay of a minute stands for one that
 * is skipped: a process that waited for it would not end within the test.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fields } from '../support/client.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import { FIXTURES, type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { freePort } from '../support/sockets.ts'

const NODE = [repositoryFile('test/apps/listening/databases.ts'), '--interface', 'node']
const LISTEN = ['--listen', '127.0.0.1:0']
const LONG = ['--drain-delay', '10m', '--access-log', 'off']
const LEAVING = 'leaving: requests are served until --drain-delay ends'

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
  it('an application that closes everything at SIGTERM still serves, and gets the signal when the delay is over', () =>
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

  it('by all workers of a proxy whose supervisor gets SIGINT', () =>
    withServer(['proxy', ...LISTEN, '--upstream', 'unix:/nowhere', '--workers', '2', ...LONG], async ({ child }) => {
      child.process.kill('SIGINT')
      assert.deepEqual(await child.exited, { code: 0, signal: null })
    }))

  it('by a container that has served its proxies alone', async () => {
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
      const child = new TestChild([repositoryFile('gantry.ts'), ...argv], { patience: 120_000 })
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
