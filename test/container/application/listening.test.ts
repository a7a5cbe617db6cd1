/**
 * `gantry container --interface node` as a process: modules that start their servers themselves, and end themselves.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, describe, it } from 'node:test'
import { WebSocket } from 'ws'
import { repositoryFile, TestChild } from '../../support/child.ts'
import { type Gantry, startGantry } from '../../support/gantry.ts'

const started: Gantry[] = []
after(() => Promise.all(started.map(({ child }) => child.end())))

async function start(module: string, ...argv: string[]): Promise<Gantry> {
  const file = repositoryFile(`test/apps/listening/${module}`)
  const gantry = await startGantry(['container', file, '--listen', '127.0.0.1:0', '--access-log', 'off', ...argv])
  started.push(gantry)
  return gantry
}

async function get({ port }: { readonly port: number }, path = '/'): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`)
  return await response.text()
}

/** A request whose response has begun, and continues when the application gets SIGTERM. */
async function begin({ port }: Gantry, path: string): Promise<() => Promise<string>> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`)
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = (await reader.read()).value ?? ''
  return async () => {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return text
      text += value
    }
  }
}

async function stop({ child }: Gantry): Promise<{ code: number | null }> {
  child.process.kill('SIGTERM')
  return await child.exited
}

/** The order of these texts on standard error. */
function order(stderr: string): string[] {
  return stderr.split('\n').filter((line) => line.startsWith('the application'))
}

const NODE = '--interface=node'

describe('--interface node with a module that listens', () => {
  it('calls listeners in the async context of listen(), as Node does, and never in that of another request', async () => {
    const gantry = await start('context.ts', NODE)
    const found = await Promise.all(Array.from({ length: 8 }, () => get(gantry)))
    found.push(await get(gantry))
    assert.deepEqual(new Set(found), new Set(['of listen()']))
  })

  describe('Express', () => {
    it("is served without binding the port that it asked for, and emits 'listening'", async () => {
      const gantry = await start('express.ts', NODE)
      assert.equal(await get(gantry), 'hello')
      assert.match(gantry.child.stderr, new RegExp(`^listening true ${gantry.port}$`, 'm'))
      assert.match(gantry.child.stderr, /^argv express\.ts$/m)
      const socket = new WebSocket(`ws://127.0.0.1:${gantry.port}/ws`)
      await once(socket, 'open')
      socket.send('1')
      assert.equal(String((await once(socket, 'message'))[0]), 'echo 1')
      socket.terminate()
      assert.equal((await stop(gantry)).code, 0)
    })

    it('runs its shutdown code at once, and exits after running requests', async () => {
      const gantry = await start('express.ts', NODE)
      const rest = await begin(gantry, '/begun')
      const stopped = stop(gantry)
      assert.equal(await rest(), 'begun ended')
      assert.equal((await stopped).code, 0)
      assert.deepEqual(order(gantry.child.stderr), [
        'the application was told',
        'the application closed',
        'the application is done',
      ])
      assert.ok(gantry.child.logged('stopped'))
    })

    it('drains and ends when it closes its server', async () => {
      const gantry = await start('express.ts', NODE)
      assert.equal(await get(gantry, '/close'), 'closing')
      assert.equal((await gantry.child.exited).code, 0)
      assert.ok(gantry.child.log.some((line) => line['reason'] === 'the application closed its server'))
    })
  })

  it('resolves a top-level await of Fastify’s listen(), on both addresses of localhost', async () => {
    const gantry = await start('fastify.ts', NODE)
    assert.equal(await get(gantry), 'hello')
    await gantry.child.until(() => gantry.child.stderr.includes('listening'))
    assert.equal(gantry.child.stderr, `listening http://127.0.0.1:${gantry.port}\n`)
    assert.equal((await stop(gantry)).code, 0)
  })

  it('runs NestJS’s shutdown hooks', async () => {
    const gantry = await start('nest.ts', NODE)
    assert.equal(await get(gantry, '/hello'), 'hello')
    assert.equal((await stop(gantry)).code, 0)
  })

  it('waits for a module that listens later', async () => {
    const gantry = await start('late.cjs', NODE)
    assert.equal(await get(gantry), 'hello')
    assert.equal((await stop(gantry)).code, 0)
  })

  it('lets a second server listen on the port that it asked for', async () => {
    const gantry = await start('two.ts', NODE)
    const { child } = gantry
    await child.until(() => /second \d+ /.test(child.stderr))
    assert.equal(await get(gantry), 'hello')
    assert.equal(await get({ port: Number(/second (\d+) /.exec(child.stderr)![1]) }), 'second')
    assert.equal((await stop(gantry)).code, 0)
  })

  it('serves the server that listens, unless an export is named', async () => {
    assert.equal(await get(await start('both.ts', NODE)), 'hello')
    assert.equal(await get(await start('both.ts:admin', NODE)), 'admin')
  })

  for (const [module, says] of [
    [
      'never.ts',
      /never\.ts exports nothing to serve, and did not call listen\(\) of an http\.Server before the event loop was empty/,
    ],
    ['throws.ts', /throws\.ts threw while it was loaded: no database/],
    ['two.ts:other', /two\.ts has no export other; it exports nothing/],
  ] as const) {
    it(`explains what is wrong with ${module}`, async () => {
      const argv = ['container', repositoryFile(`test/apps/listening/${module}`), NODE, '--listen', '127.0.0.1:0']
      const child = new TestChild([repositoryFile('cli/gantry.ts'), ...argv])
      assert.equal((await child.exited).code, 1)
      assert.match(child.stderr, says)
    })
  }
})

describe('an application that calls process.exit()', () => {
  it('does not end the process before the drain is over, and chooses its exit code', async () => {
    const gantry = await start('exits.ts')
    const rest = await begin(gantry, '/')
    const stopped = stop(gantry)
    assert.equal(await rest(), 'begun ended')
    assert.equal((await stopped).code, 3)
  })
})
