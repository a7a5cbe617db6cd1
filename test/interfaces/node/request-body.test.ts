/** What a listener sees of a body that it does not read, and of an empty body, whenever the body arrives. */

import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { duplexPair } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fromFetch } from '../../../interfaces/fetch/from-fetch.ts'
import { fromNode } from '../../../interfaces/node/from-node.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { AbortError, HttpError } from '../../../protocol/contract/errors.ts'
import { type InputSource, RequestInput } from '../../../protocol/contract/input.ts'
import { ReplayableBody } from '../../../protocol/frames/caller.ts'
import { fixedSlots, serveFrames } from '../../../protocol/frames/server.ts'
import { ReplayedInput } from '../../../proxy/upstreams/replayed-input.ts'
import { type Run, run } from '../../support/exchange.ts'
import { linked } from '../../support/linked.ts'
import { facts, MemoryHost } from '../../support/memory-client.ts'
import { type Case, compare } from '../../support/parity.ts'

const HIGH = 64 * 1024
const CHUNKED = ['Host', 'x', 'Transfer-Encoding', 'chunked']

/** A source that counts the reads of the application. */
class Source implements InputSource {
  asked = 0
  taken = 0

  wanted(): void {
    this.asked++
  }

  consumed(bytes: number): void {
    this.taken += bytes
  }
}

/** A request that its listener does not read. */
function unread(length: number | undefined): { source: Source; input: RequestInput; req: IncomingMessage; made: Run } {
  const source = new Source()
  const input = new RequestInput(source)
  let req: IncomingMessage | undefined
  const listener = fromNode((given) => {
    req = given
  })
  const headers = length === undefined ? CHUNKED : ['Host', 'x', 'Content-Length', String(length)]
  const made = run(listener, { method: 'POST', headers, input })
  return { source, input, req: req!, made }
}

async function arrived(req: IncomingMessage, bytes: number): Promise<void> {
  while (!req.complete && req.readableLength < bytes) await turn()
}

const cases: Case[] = [
  ...[undefined, { 'X-Sum': '5' }].map(
    (trailers): Case => ({
      title: `an unread body${trailers ? ' with trailers' : ''} is complete once it has arrived, and ends when it is read`,
      request: { method: 'POST', ...(trailers && { headers: { 'Transfer-Encoding': 'chunked' } }) },
      body: 'hello',
      ...(trailers && { trailers }),
      listener: async (req, res, note) => {
        let ends = 0
        req.on('end', () => ends++)
        await arrived(req, 6)
        for (let at = 0; at < 5; at++) await turn()
        note(`${req.complete} ${req.readableLength} ${req.readableEnded} ${ends} ${req.readableFlowing}`)
        note(JSON.stringify(req.trailers))
        res.end(await text(req))
      },
    }),
  ),
  {
    title: 'a large unread body fills the request up to its high-water mark, and arrives complete',
    request: { method: 'POST' },
    body: 'x'.repeat(1_000_000),
    listener: async (req, res, note) => {
      await arrived(req, HIGH)
      for (let at = 0; at < 20; at++) await turn()
      note(`${req.complete} ${req.readableLength >= HIGH} ${req.readableLength <= 2 * HIGH}`)
      res.end(String((await text(req)).length))
    },
  },
  {
    title: 'an empty chunked body counts as a body',
    request: { method: 'POST', headers: { 'Transfer-Encoding': 'chunked' } },
    listener: async (req, res, note) => {
      await arrived(req, 1)
      note(
        JSON.stringify([req.headers['transfer-encoding'], req.headers['content-length'] ?? null, req.readableLength]),
      )
      res.end(await text(req))
    },
  },
]

compare('an unread body, here and before node:http', cases)

describe('fromNode: an unread body', () => {
  it('is pushed as it arrives, and not requested (100 Continue)', async () => {
    const { source, input, req } = unread(undefined)
    input.push(Buffer.from('he'))
    assert.deepEqual([req.readableLength, req.complete], [2, false])
    input.push(Buffer.from('llo'))
    input.end(['X-Sum', '5'])
    assert.deepEqual([req.readableLength, req.complete, req.trailers['x-sum']], [5, true, '5'])
    assert.equal(source.asked, 0)
    assert.equal(await text(req), 'hello')
  })

  it('stays with its gateway above the high-water mark', () => {
    const { source, input, req } = unread(undefined)
    for (let at = 0; at < 10; at++) input.push(Buffer.alloc(HIGH / 2))
    assert.equal(req.readableLength, HIGH)
    assert.equal(source.taken, HIGH)
    assert.equal(input.buffered, 4 * HIGH)
  })

  it('may fail or be short without effect until it is read', async () => {
    const failing = unread(5)
    failing.input.push(Buffer.from('he'))
    failing.input.fail(new HttpError(413, 'BODY_TOO_LARGE', 'too large'))
    const short = unread(5)
    short.input.push(Buffer.from('he'))
    short.input.end()
    await turn()
    for (const { req, made, status } of [
      { ...failing, status: '413' },
      { ...short, status: '500' },
    ]) {
      assert.deepEqual([req.complete, req.destroyed, made.settled()], [false, false, 0])
      await assert.rejects(text(req), { code: 'ECONNRESET' })
      await made.whenSettled
      assert.equal(made.sink.status.slice(0, 3), status)
    }
  })

  it('is aborted, not complete, if its client disconnects', async () => {
    const { input, req, made } = unread(5)
    let aborted = false
    req.on('aborted', () => (aborted = true)).on('error', () => {})
    input.push(Buffer.from('he'))
    made.exchange.abort(new AbortError('CLIENT_GONE', 'the client went away'))
    await made.whenSettled
    await turn()
    assert.deepEqual([aborted, req.complete], [true, false])
  })
})

const shows: readonly (readonly [what: string, application: Application, shown: string])[] = [
  ['a Node listener', fromNode((req, res) => res.end(String(req.headers['transfer-encoding']))), 'chunked'],
  ['a fetch handler', fromFetch((request) => new Response(String(request.body !== null))), 'true'],
]

/** A container's application, as its proxy calls it. */
async function calls(application: Application, act: (remote: Application) => Promise<void>): Promise<void> {
  const [here, there] = duplexPair()
  const host = new MemoryHost()
  const { clock, log } = host
  const identity = { id: 'empty', worker: 0, workers: 1, slots: 10, limits: {} }
  const admitting: Application = (environ, startResponse) => {
    host.admit()
    return application(environ, startResponse)
  }
  serveFrames(there, admitting, { clock, log, host, process: facts, identity, slots: fixedSlots(10), window: 16_384 })
  const caller = await linked(here)
  await act((environ, startResponse) => caller.call(environ, startResponse, new ReplayableBody(environ['wsgi.input'])))
  caller.destroy()
  await host.idle()
}

/** An application in the proxy's process, as the proxy calls it: an HTTP upstream. */
const replayed =
  (application: Application): Application =>
  (environ, startResponse) => {
    const { input } = new ReplayedInput(new ReplayableBody(environ['wsgi.input']))
    return application({ ...environ, 'wsgi.input': input }, startResponse)
  }

describe('an empty chunked body', () => {
  for (const [what, application, shown] of shows) {
    for (const when of ['before', 'after'] as const) {
      const answered = async (called: Application, headers: string[] = CHUNKED): Promise<string> => {
        const input = new RequestInput(headers === CHUNKED ? new Source() : null)
        const made = run(called, {
          method: 'POST',
          headers,
          input,
          prepare: () => when === 'before' && input.end(),
        })
        if (when === 'after') {
          await turn()
          input.end()
        }
        await made.whenSettled
        return made.sink.body
      }

      it(`is a body for ${what} if it ended ${when} the call, unlike a missing body`, async () => {
        const none = { 'a Node listener': 'undefined', 'a fetch handler': 'false' }[what]
        for (const called of [application, replayed(application)]) {
          assert.equal(await answered(called), shown)
          assert.equal(await answered(called, ['Host', 'x']), none)
        }
        await calls(application, async (remote) => {
          assert.equal(await answered(remote), shown)
          assert.equal(await answered(remote, ['Host', 'x']), none)
        })
      })
    }
  }
})
