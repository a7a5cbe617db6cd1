/** The health listener of both processes, and the command that sends probes to it. */

import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { askHealth } from '../../cli/health.ts'
import { healthCommandOptions } from '../../cli/health-options.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { repositoryFile, TestChild } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'
import { freePort, listening } from '../support/sockets.ts'
import { until } from '../support/until.ts'

const cleanups: (() => unknown)[] = []
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup()
})

function ask(...argv: string[]): ReturnType<typeof askHealth> {
  return askHealth(parseOptions(healthCommandOptions, argv).values)
}

async function proxy(argv: string[]): Promise<Awaited<ReturnType<typeof serveProxy>>> {
  const { values } = parseOptions(proxyOptions, ['--listen', '127.0.0.1:0', ...argv])
  const running = await serveProxy(values, { log: new RecordingLog() })
  cleanups.push(() => running.drain())
  return running
}

async function container(
  application: Application,
  argv: string[],
): Promise<{ serving: Serving; drain: () => Promise<void> }> {
  const serving = await Serving.start(application, argv)
  const drain = (): Promise<void> => serving.container.drain()
  cleanups.push(drain)
  return { serving, drain }
}

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hello')]
}

test('a proxy lives as soon as it listens, and is ready with its first container', () =>
  withDirectory(async (directory) => {
    const lane = `unix:${join(directory, 'health')}`
    const door = `unix:${join(directory, 'join')}`
    await proxy(['--join-listen', door, '--health-listen', lane])
    assert.deepEqual(await ask(lane, '--live'), { healthy: true, line: `${lane} 200 {"live":true}` })
    assert.deepEqual(await ask(lane), {
      healthy: false,
      line: `${lane} 503 {"ready":false,"containers":0,"queued":0,"draining":false}`,
    })
    const { drain } = await container(hello, ['--join', door])
    await until(async () => (await ask(lane)).healthy)
    assert.match((await ask(lane)).line, /"containers":1/)
    await drain()
    await until(async () => !(await ask(lane)).healthy)
  }))

test('a container that joins is ready while a proxy is linked, one that listens from the start', () =>
  withDirectory(async (directory) => {
    const [one, two] = [`unix:${join(directory, 'one')}`, `unix:${join(directory, 'two')}`]
    await container(hello, ['--listen', '127.0.0.1:0', '--health-listen', one])
    assert.equal((await ask(one)).healthy, true)
    const door = `unix:${join(directory, 'join')}`
    await container(hello, ['--join', door, '--health-listen', two])
    assert.equal((await ask(two)).healthy, false)
    assert.equal((await ask(two, '--live')).healthy, true)
    const running = await proxy(['--join-listen', door])
    await until(async () => (await ask(two)).healthy)
    await running.drain()
    await until(async () => !(await ask(two)).healthy)
  }))

test('health is answered while every slot is taken and the queue is full', () =>
  withDirectory(async (directory) => {
    const [lane, front] = [`unix:${join(directory, 'c')}`, `unix:${join(directory, 'p')}`]
    const door = `unix:${join(directory, 'join')}`
    const begun = Promise.withResolvers<void>()
    const over = Promise.withResolvers<void>()
    const slow: Application = async (environ, startResponse) => {
      begun.resolve()
      await over.promise
      return hello(environ, startResponse)
    }
    await container(slow, ['--join', door, '--slots', '1', '--health-listen', lane])
    const running = await proxy(['--join-listen', door, '--queue-size', '0', '--health-listen', front])
    await until(async () => (await ask(front)).healthy)
    const address = running.addresses[0]
    assert.ok(address?.kind === 'tcp')
    const client = await HttpClient.connect({ host: '127.0.0.1', port: address.port })
    const answer = client.fetch({ target: '/' })
    await begun.promise
    const other = await HttpClient.connect({ host: '127.0.0.1', port: address.port })
    assert.equal((await other.fetch({ target: '/' })).status, 503)
    assert.match((await ask(lane)).line, / 200 .*"running":1/)
    assert.match((await ask(front)).line, / 200 .*"containers":1/)
    over.resolve()
    assert.equal((await answer).status, 200)
    client.destroy()
    other.destroy()
  }))

test('the lane has two paths, and clients have none of them', () =>
  withDirectory(async (directory) => {
    const lane = join(directory, 'health')
    const { serving } = await container(hello, ['--listen', '127.0.0.1:0', '--health-listen', `unix:${lane}`])
    const client = await HttpClient.connect({ path: lane })
    assert.equal((await client.fetch({ target: '/' })).status, 404)
    assert.equal((await client.fetch({ target: '/ready' })).status, 200)
    client.destroy()
    const own = await serving.http()
    assert.equal((await own.fetch({ target: '/live' })).body.toString(), 'hello')
  }))

test('an address without a listener, and a silent one, are not healthy', async () => {
  const port = await freePort()
  assert.match(
    (await ask(`127.0.0.1:${port}`)).line,
    /^127\.0\.0\.1:\d+ .*ECONNREFUSED.*: is the server running, and is this its --health-listen\?$/,
  )
  const mute = await listening(createServer())
  cleanups.push(() => mute.stop())
  const verdict = await ask(`127.0.0.1:${mute.address.port}`, '--timeout', '50ms')
  assert.deepEqual(verdict, { healthy: false, line: `127.0.0.1:${mute.address.port} no answer within 50 ms` })
})

test('a server without a health listener is distinguished from one that is not ready', async () => {
  const { serving } = await container(
    (_environ, startResponse) => {
      startResponse('404 Not Found', [['Content-Type', 'text/html']])
      return [Buffer.from('<!DOCTYPE html>\n<title>Not Found</title>')]
    },
    ['--listen', '127.0.0.1:0'],
  )
  const address = serving.container.addresses[0]
  assert.ok(address?.kind === 'tcp')
  const name = `127.0.0.1:${address.port}`
  assert.deepEqual(await ask(name), {
    healthy: false,
    line: `${name} 404 this is not a health address; give the address of --health-listen`,
  })
})

for (const [what, body] of [
  ['a page', '<!DOCTYPE html>'],
  ['a text', 'hello'],
  ['JSON of its own', '{"status":"ok"}'],
  ['null', 'null'],
  ['nothing', ''],
] as const) {
  test(`a server that is not a health listener and answers 200 with ${what} to every path is not healthy`, async () => {
    const { serving } = await container(
      (_environ, startResponse) => {
        startResponse('200 OK', [['Content-Type', 'text/html']])
        return [Buffer.from(body)]
      },
      ['--listen', '127.0.0.1:0'],
    )
    const address = serving.container.addresses[0]
    assert.ok(address?.kind === 'tcp')
    const name = `127.0.0.1:${address.port}`
    for (const argv of [[], ['--live']]) {
      assert.deepEqual(await ask(name, ...argv), {
        healthy: false,
        line: `${name} 200 this is not a health address; give the address of --health-listen`,
      })
    }
    // A URL may be the health check of any service.
    assert.equal((await ask(`http://${name}/health`)).healthy, true)
  })
}

test('a URL without a path is asked for /ready, one with a path for that', async () => {
  const { serving } = await container(
    (environ, startResponse) => {
      startResponse(environ.PATH_INFO === '/fine' ? '204 No Content' : '500 Oh', [])
      return []
    },
    ['--listen', '127.0.0.1:0'],
  )
  const address = serving.container.addresses[0]
  assert.ok(address?.kind === 'tcp')
  const url = `http://127.0.0.1:${address.port}`
  assert.deepEqual(await ask(`${url}/fine`), { healthy: true, line: `${url}/fine 204` })
  assert.deepEqual(await ask(url), { healthy: false, line: `${url}/ 500` })
})

test('the command prints one line, exits with its result, and takes the address from the environment too', () =>
  withDirectory(async (directory) => {
    const lane = `unix:${join(directory, 'health')}`
    const { drain } = await container(hello, ['--listen', '127.0.0.1:0', '--health-listen', lane])
    const healthy = new TestChild([repositoryFile('cli/gantry.ts'), 'health', '--live'], {
      env: { GANTRY_HEALTH_LISTEN: lane },
    })
    assert.deepEqual([await healthy.exited, healthy.stdout], [{ code: 0, signal: null }, `${lane} 200 {"live":true}\n`])
    await drain()
    const bad = new TestChild([repositoryFile('cli/gantry.ts'), 'health', lane])
    assert.equal((await bad.exited).code, 1)
    assert.match(bad.stdout, /^unix:\S+ connect ENOENT [^\n]*\n$/)
  }))
