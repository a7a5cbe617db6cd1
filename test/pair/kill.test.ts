/** The pair as real processes; its container is killed under load. */

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { pattern } from '../apps/tools.ts'
import { FIXTURES, faultsOf, type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { assertSafe, Load, Runs } from '../support/load.ts'
import { temporary } from '../support/sockets.ts'

const quiet = ['--access-log', 'off', '--log-level', 'error']

/** A proxy, and containers that start and end on one socket. */
async function withPair(body: (pair: Pair) => Promise<void>): Promise<void> {
  const directory = await temporary()
  const pair = new Pair(directory)
  try {
    await pair.startContainer()
    await pair.startProxy()
    await body(pair)
    assert.deepEqual(faultsOf(pair.proxy), [])
  } finally {
    await pair.end()
    await rm(directory, { recursive: true, force: true })
  }
}

class Pair {
  readonly runs: Runs
  readonly #socket: string
  proxy!: Gantry
  #container: Gantry | undefined

  constructor(directory: string) {
    this.runs = new Runs(join(directory, 'runs'))
    this.#socket = `unix:${join(directory, 'socket')}`
  }

  async startProxy(): Promise<void> {
    this.proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', '--upstream', this.#socket, ...quiet])
  }

  /** Resolves when the container listens. */
  async startContainer(): Promise<void> {
    this.#container = await startGantry(['container', FIXTURES, '--listen', this.#socket, ...quiet], {
      env: { FIXTURE_RUNS: this.runs.path },
    })
  }

  /** kill -9. */
  async killContainer(): Promise<void> {
    await this.#container?.child.end()
  }

  connect(): Promise<HttpClient> {
    return HttpClient.connect({ port: this.proxy.port, host: '127.0.0.1' })
  }

  async end(): Promise<void> {
    await Promise.all([this.#container?.child.end(), this.proxy?.child.end()])
  }
}

test('a container killed under load: no POST runs twice, each response belongs to its request, retryable requests are retried', {
  timeout: 60_000,
}, async () => {
  await withPair(async (pair) => {
    const load = new Load({ port: pair.proxy.port, seed: 1, clients: 48, body: 200_000, work: 20 })
    for (let kill = 0; kill < 3; kill++) {
      await load.answered(300)
      await pair.killContainer()
      await pair.startContainer()
    }
    await load.answered(300)
    const outcomes = await load.stop()
    assertSafe(outcomes, pair.runs.count())
    for (const { id, method, status, complete, error } of outcomes) {
      // The application responds with one chunk after its work: only a body of many frames can be truncated.
      if (!complete) assert.notEqual(method, 'GET', `GET ${id} was cut: ${error}`)
      // A GET is idempotent and has no body that could be lost: it is retried, and never fails because of a container's
      // death.
      if (method === 'GET') assert.equal(status, 200, `GET ${id}`)
      if (complete && status !== 200) assert.equal(status, 502, `${method} ${id}`)
    }
    const failed = outcomes.filter(({ status }) => status !== 200)
    assert.ok(failed.length > 0, 'the kills met no POST: there was no load')
    assert.ok(failed.length < outcomes.length / 4, `${failed.length} of ${outcomes.length} failed`)
  })
})

// The dialer's backoff limits the time to a second: test/proxy/discovery/dialer.test.ts.
test('a restarted container is found, and requests wait for it meanwhile', {
  timeout: 60_000,
}, async () => {
  await withPair(async (pair) => {
    const client = await pair.connect()
    assert.equal((await client.fetch({ target: '/hello' })).status, 200)
    await pair.killContainer()
    const waiting = client.fetch({ method: 'POST', target: '/echo', body: 'held while nobody is there' })
    await pair.startContainer()
    const answer = await waiting
    assert.equal(answer.status, 200)
    assert.equal(answer.body.toString(), 'held while nobody is there')
    client.destroy()
  })
})

test('requests in a killed container are aborted, answered with 502 or retried, depending on their progress', {
  timeout: 60_000,
}, async () => {
  await withPair(async (pair) => {
    const clients = await Promise.all(Array.from({ length: 7 }, () => pair.connect()))
    const [control, get, post, streaming, upload, small, upgraded] = clients as [
      HttpClient,
      HttpClient,
      HttpClient,
      HttpClient,
      HttpClient,
      HttpClient,
      HttpClient,
    ]
    const running = (key: string) => control.fetch({ target: `/events?key=${key}&count=1` })
    const replayed = get.request({ target: '/gated-head?key=get' })
    const lost = post.request({ method: 'POST', target: '/gated-head?key=post', body: 'x' })
    const cut = streaming.request({ target: '/gated?key=stream&n=3' })
    // PUT may be retried, but the sent part of a large body is not kept after the application has started.
    const gone = upload.request({ method: 'PUT', target: '/gated-read?key=upload', body: pattern(0, 4_000_000) })
    const kept = small.request({ method: 'DELETE', target: '/gated-head?key=delete' })
    const raw = upgraded.request({
      target: '/upgrade?key=upgrade',
      headers: [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'echo'],
      ],
    })
    for (const key of ['get', 'post', 'upload', 'delete']) assert.equal((await running(key)).status, 200)
    await cut.has(7)
    await raw.head()

    await pair.killContainer()
    const answers = await Promise.all([lost.whole(), cut.whole(), gone.whole(), raw.whole()])
    assert.deepEqual(
      answers.map(({ status, complete }) => (complete ? status : `${status} cut`)),
      [502, '200 cut', 502, '101 cut'],
    )
    await pair.startContainer()
    for (const key of ['get', 'delete']) {
      assert.equal((await running(key)).status, 200)
      await control.fetch({ target: `/release?key=${key}` })
    }
    assert.equal((await replayed.whole()).body.toString(), 'released')
    assert.equal((await kept.whole()).body.toString(), 'released')
    for (const client of clients) client.destroy()
  })
})
