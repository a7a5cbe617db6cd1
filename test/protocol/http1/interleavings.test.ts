/**
 * Requests and applications of every kind, mixed at random over kept connections and split anywhere: each response must
 * belong to its request, with its own body, in order, and each request must have run once.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { Application } from '../../../protocol/contract/application.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { FakeClock } from '../../support/clock.ts'
import { Serving, until } from './serving.ts'

interface Kind {
  method: 'GET' | 'POST' | 'HEAD'
  /** Bytes of the request's body. */
  size: number
  chunked: boolean
  /** How the application reads the request's body, and when. */
  reads: 'before' | 'while' | 'never'
  /** How the application responds. */
  answers: 'array' | 'generator' | 'async' | 'write'
  /** Bytes of the response's body, beside the request's number. */
  gives: number
  /** The number of event-loop iterations that it waits. */
  turns: number
}

const kind: fc.Arbitrary<Kind> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'POST', 'HEAD'),
  size: fc.constantFrom(0, 1, 100, 5000, 60_000),
  chunked: fc.boolean(),
  reads: fc.constantFrom('before', 'while', 'never'),
  answers: fc.constantFrom('array', 'generator', 'async', 'write'),
  gives: fc.constantFrom(0, 1, 5000, 20_000, 200_000),
  turns: fc.nat(2),
})

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const application: Application = async (environ, start) => {
  const { reads, answers, gives, turns } = JSON.parse(decodeURIComponent(environ.QUERY_STRING)) as Kind
  const sums: string[] = [environ.PATH_INFO]
  const read = async (): Promise<void> => {
    let size = 0
    for await (const chunk of environ['wsgi.input']) {
      size += chunk.length
      for (const byte of chunk) if (byte !== environ.PATH_INFO.charCodeAt(1)) sums.push(`a byte of another: ${byte}`)
    }
    sums.push(String(size))
  }
  for (let at = 0; at < turns; at++) await turn()
  if (reads === 'before') await read()
  const body = Buffer.alloc(gives, environ.PATH_INFO.slice(1, 2))
  const write = start('200 OK', [['Content-Type', 'text/plain']])
  const head = (): Buffer => Buffer.from(`${sums.join(' ')};`)
  switch (answers) {
    case 'array':
      if (reads === 'while') await read()
      return [head(), body]
    case 'generator':
      if (reads === 'while') await read()
      return (function* () {
        yield head()
        yield body
      })()
    case 'async':
      return (async function* () {
        if (reads === 'while') await read()
        yield head()
        await turn()
        yield body
      })()
    default:
      if (reads === 'while') await read()
      await write(head())
      await write(body)
      return []
  }
}

describe('requests and applications mixed at random', () => {
  it('give each request its own response, complete and in order', async () => {
    await using serving = await Serving.start(lint(application), { clock: new FakeClock() })
    await fc.assert(
      fc.asyncProperty(
        fc.array(kind, { minLength: 1, maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 8 }),
        async (kinds, cuts) => {
          const client = await serving.client()
          const begun = serving.environs.length
          const parts: Buffer[] = []
          const answers = kinds.map((one, at) => {
            const name = String.fromCharCode(97 + at)
            const target = `/${name}?${encodeURIComponent(JSON.stringify(one))}`
            const body = Buffer.alloc(one.method === 'POST' ? one.size : 0, name)
            const framing =
              one.method !== 'POST'
                ? ''
                : one.chunked
                  ? 'Transfer-Encoding: chunked\r\n'
                  : `Content-Length: ${body.length}\r\n`
            parts.push(Buffer.from(`${one.method} ${target} HTTP/1.1\r\nHost: a\r\n${framing}\r\n`, 'latin1'))
            if (one.method === 'POST' && one.chunked) {
              if (body.length > 0) {
                parts.push(Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n'))
              }
              parts.push(Buffer.from('0\r\n\r\n'))
            } else parts.push(body)
            return client.expect(one.method)
          })
          const all = Buffer.concat(parts)
          for (let at = 0, cut = 0; at < all.length; cut++) {
            // Not so many pieces that a timeout could expire.
            const size = Math.max(cuts[cut % cuts.length]!, Math.ceil(all.length / 200))
            void client.write(all.subarray(at, at + size))
            at += size
            await turn()
          }
          const wholes = await Promise.all(answers.map((one) => one.whole()))
          for (const [at, one] of kinds.entries()) {
            const name = String.fromCharCode(97 + at)
            const size = one.method === 'POST' ? one.size : 0
            const head = one.reads === 'never' ? `/${name};` : `/${name} ${size};`
            const expected = one.method === 'HEAD' ? '' : head + name.repeat(one.gives)
            assert.equal(wholes[at]!.complete, true, `answer ${name}: ${wholes[at]!.error}`)
            assert.ok(
              wholes[at]!.body.toString() === expected,
              `answer ${name} begins ${wholes[at]!.body.subarray(0, 40)}`,
            )
          }
          assert.equal(client.surplus.length, 0)
          assert.deepEqual(
            serving.environs.slice(begun).map(({ PATH_INFO }) => PATH_INFO),
            kinds.map((_, at) => `/${String.fromCharCode(97 + at)}`),
          )
          client.socket.destroy()
          await until(() => serving.settled === serving.environs.length)
        },
      ),
      { numRuns: 60 },
    )
  })
})
