/**
 * Many concurrent echoes over one link with a small window, read and written in pieces of random sizes at random
 * moments, some aborted: every response has the bytes of its own request, in order and once.
 */

import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { duplexPair } from 'node:stream'
import { test } from 'node:test'
import type { Application, Input } from '../../protocol/contract/application.ts'
import { type Linted, lint } from '../../protocol/contract/lint.ts'
import { Caller, ReplayableBody } from '../../protocol/frames/caller.ts'
import { fixedSlots, serveFrames } from '../../protocol/frames/server.ts'
import { serveHttp1 } from '../../protocol/http1/gateway.ts'
import { silent } from '../../protocol/log/logger.ts'
import { systemClock } from '../../protocol/net/clock.ts'
import { bytes, octets, pattern, query } from '../apps/tools.ts'
import type { RequestOptions, Sent } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import { facts, MemoryClient, MemoryHost } from '../support/memory-client.ts'
import { between, seeded } from '../support/random.ts'
import { listening } from '../support/sockets.ts'

type Random = () => number

/** Sizes near the limits of gathering, copying, frames and windows. */
function size(random: Random, most: number): number {
  const edges = [1, 2, 1023, 1024, 1025, 4095, 4096, 4097, 16_384, 65_535, 65_536, 65_537]
  const chosen = random() < 0.5 ? edges[between(random, 0, edges.length - 1)]! : between(random, 1, 2000)
  return Math.min(most, chosen)
}

/** Waits for nothing, for a microtask, or for an event-loop iteration. */
async function pause(random: Random): Promise<void> {
  const chance = random()
  if (chance < 0.2) await new Promise(setImmediate)
  else if (chance < 0.3) await null
}

async function* read(input: Input, random: Random): AsyncIterable<Uint8Array> {
  for (;;) {
    await pause(random)
    const most = size(random, 1 << 20)
    const way = between(random, 0, 3)
    const chunk = await (way === 0 ? input.read(most) : way === 1 ? input.readline(most) : input.read1(most))
    if (chunk.length === 0) return
    yield chunk
  }
}

/** Echoes the body after its id; the seed determines how it reads and writes. */
const echo: Application = async (environ, startResponse) => {
  const id = query(environ).get('id') ?? ''
  const random = seeded(Number(id))
  const input = read(environ['wsgi.input'], random)
  const write = startResponse('200 OK', [...octets])
  if (random() < 0.5) {
    await write(bytes(`${id};`))
    for await (const chunk of input) {
      await pause(random)
      await write(chunk)
    }
    return []
  }
  return (async function* () {
    yield bytes(`${id};`)
    for await (const chunk of input) {
      await pause(random)
      yield chunk
    }
  })()
}

type Open = (options: RequestOptions) => Promise<{ sent: Sent; done: () => void }>

/** One client: sends pieces, and may disconnect. */
async function one(open: Open, id: number): Promise<void> {
  const random = seeded(id + 1_000_000)
  const length = random() < 0.3 ? between(random, 0, 300_000) : between(random, 0, 5000)
  const body = pattern(id, length)
  const leaves = random() < 0.15 ? between(random, 0, length) : undefined
  const declared: [string, string][] = random() < 0.5 ? [['Content-Length', String(length)]] : []
  const { sent, done } = await open({ method: 'POST', target: `/?id=${id}`, headers: declared, body: 'stream' })
  for (let at = 0; at < length; ) {
    const part = size(random, length - at)
    if (leaves !== undefined && at + part > leaves) break
    const room = sent.send(body.subarray(at, at + part))
    if (random() < 0.5) await room
    at += part
    await pause(random)
  }
  if (leaves !== undefined) sent.abort(random() < 0.5 ? 'end' : 'reset')
  else sent.finish()
  const answer = await sent.whole()
  done()
  const expected = Buffer.concat([bytes(`${id};`), body])
  if (answer.complete) assert.ok(answer.body.equals(expected), `stream ${id} got other bytes than its own`)
  else {
    assert.notEqual(leaves, undefined, `stream ${id} was cut: ${answer.error}`)
    assert.ok(answer.body.equals(expected.subarray(0, answer.body.length)), `stream ${id} got other bytes than its own`)
  }
}

/** A link whose window is often exhausted, and the faults that its two ends found. */
async function link(): Promise<{ application: Linted; close(): Promise<void> }> {
  const [here, there] = duplexPair({ highWaterMark: 16 * 1024 })
  const host = new MemoryHost()
  const broken: string[] = []
  const report = (error: Error): void => {
    broken.push(error.message)
  }
  const far = lint(echo, { report })
  const options = { clock: systemClock, log: silent, window: 16 * 1024 }
  const counted: Application = (environ, startResponse) => {
    host.admit()
    return far(environ, startResponse)
  }
  const identity = { id: 'mixing', worker: 0, workers: 1, slots: 100, limits: {} }
  serveFrames(there, counted, { ...options, host, process: facts, identity, slots: fixedSlots(100) })
  const ready = Promise.withResolvers<void>()
  const caller = new Caller(here, {
    ...options,
    onChange: () => {
      if (caller.state === 'ready') ready.resolve()
    },
  })
  await ready.promise
  const near = lint(
    (environ, startResponse) => caller.call(environ, startResponse, new ReplayableBody(environ['wsgi.input'])),
    { report },
  )
  return {
    application: near,
    async close() {
      assert.equal(caller.inFlight, 0)
      await host.idle()
      caller.destroy()
      near.assertClosed()
      far.assertClosed()
      assert.deepEqual(broken, [])
    },
  }
}

const ROUNDS = Number(process.env['ROUNDS'] ?? 6)
const STREAMS = 40

test('over a link, from memory', { timeout: 60_000 }, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const { application, close } = await link()
    const client = new MemoryClient(application)
    const open: Open = async (options) => ({ sent: client.request(options), done() {} })
    await Promise.all(Array.from({ length: STREAMS }, (_, at) => one(open, round * STREAMS + at)))
    await client.host.idle()
    assert.deepEqual(client.host.faults, [])
    await close()
  }
})

test('over HTTP and a link, on reused connections', { timeout: 60_000 }, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const { application, close } = await link()
    const host = new MemoryHost()
    const options = { host, facts, admit: () => host.admit() }
    const server = await listening(
      createServer({ allowHalfOpen: true, noDelay: true }, (socket) => void serveHttp1(socket, application, options)),
    )
    const clients: HttpClient[] = []
    const idle: HttpClient[] = []
    const open: Open = async (request) => {
      let client = idle.pop()
      if (!client) {
        client = await HttpClient.connect({ ...server.address, host: '127.0.0.1' })
        clients.push(client)
      }
      const used = client
      return { sent: used.request(request), done: () => void (used.reusable && idle.push(used)) }
    }
    try {
      for (let wave = 0; wave < 2; wave++) {
        const first = (round * 2 + wave) * STREAMS
        await Promise.all(Array.from({ length: STREAMS }, (_, at) => one(open, first + at)))
      }
      for (const client of clients) assert.equal(client.surplus.length, 0)
    } finally {
      for (const client of clients) client.destroy()
      await server.stop()
    }
    await host.idle()
    await close()
  }
})
