/**
 * Bytes that are not a request, or not certainly one, must never run as one: each request that must be refused is sent
 * over a real socket with another request after it, whole and in pieces, after a valid request and alone.
 */

import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import type { Application } from '../../../protocol/contract/application.ts'
import { serveHttp1 } from '../../../protocol/http1/gateway.ts'
import { silent } from '../../../protocol/log/logger.ts'
import { Deadlines, systemClock } from '../../../protocol/net/clock.ts'
import { BAD, GOOD } from './requests.ts'
import { Serving, until } from './serving.ts'

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n'

/** Reads the whole body, and responds with the method and target. */
const application: Application = async (environ, start) => {
  const body = await environ['wsgi.input'].read()
  start('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from(`${environ.REQUEST_METHOD} ${environ.REQUEST_URI} ${body.length}`, 'latin1')]
}

describe('no request runs after a refused one:', () => {
  let serving: Serving
  before(async () => {
    serving = await Serving.start(application)
  })
  after(() => serving[Symbol.asyncDispose]())

  for (const { title, bytes, status, inBody } of BAD) {
    it(title, async () => {
      for (const pieces of [1, 7]) {
        const client = await serving.client()
        const begun = serving.environs.length
        const answers = [client.expect('GET'), client.expect('GET')]
        const all = Buffer.from(`GET /before HTTP/1.1\r\nHost: a\r\n\r\n${bytes}${SMUGGLED}${SMUGGLED}`, 'latin1')
        const size = Math.ceil(all.length / pieces)
        for (let at = 0; at < all.length; at += size) {
          void client.write(all.subarray(at, at + size))
          await new Promise((resolve) => setImmediate(resolve))
        }
        const [first, second] = await Promise.all(answers.map((one) => one.whole()))
        assert.equal(first!.body.toString(), 'GET /before 0')
        assert.equal(second!.status, status)
        assert.equal(await client.whenEnded(), 'fin')
        assert.equal(client.surplus.length, 0)
        const run = serving.environs.slice(begun).map(({ REQUEST_URI }) => REQUEST_URI)
        assert.deepEqual(run, inBody ? ['/before', '/'] : ['/before'])
        client.socket.destroy()
      }
    })
  }

  it('and each refusal is logged once, with the address of its client', () => {
    const lines = serving.log.lines.filter(({ level }) => level === 'info')
    assert.equal(lines.length, BAD.length * 2)
    for (const { fields } of lines) assert.equal(fields['remoteAddress'], '127.0.0.1')
  })

  it('and every slot is free again', async () => {
    await until(() => serving.settled === serving.environs.length)
  })
})

describe('each valid request runs once, in order, with its own body:', () => {
  it('all of the table on reused connections, split in different ways', async () => {
    await using serving = await Serving.start(application)
    const kept = GOOD.filter(
      ({ keepAlive, upgrade, bytes }) => keepAlive !== false && !upgrade && bytes.length < 30_000,
    )
    for (const size of [100_000, 1000, 97]) {
      const client = await serving.client()
      const begun = serving.environs.length
      const answers = kept.map(({ method, minor }) => client.expect(method, minor ?? 1))
      const all = Buffer.from(kept.map(({ bytes }) => bytes).join(''), 'latin1')
      for (let at = 0; at < all.length; at += size) await client.write(all.subarray(at, at + size))
      const bodies = await Promise.all(answers.map((one) => one.whole()))
      for (const [at, { method, target, body = '' }] of kept.entries()) {
        if (method === 'HEAD') continue
        assert.equal(bodies[at]!.body.toString('latin1'), `${method} ${target} ${body.length}`)
      }
      assert.equal(serving.environs.length - begun, kept.length)
    }
  })
})

describe('a stream that is not a socket', () => {
  it('is served like a socket', async () => {
    const [client, server] = duplexPair()
    const host = {
      clock: systemClock,
      deadlines: new Deadlines(systemClock),
      log: silent,
      draining: false,
      settled() {},
    }
    const options = { host, facts: { multithread: true, multiprocess: false, runOnce: false } }
    serveHttp1(server, application, options)
    const chunks: Buffer[] = []
    client.on('data', (chunk: Buffer) => chunks.push(chunk))
    client.write(
      'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    )
    await new Promise((resolve) => client.once('end', resolve))
    const text = Buffer.concat(chunks).toString('latin1')
    assert.match(text, /POST \/a 3HTTP\/1\.1 200 OK[\s\S]*GET \/b 0$/)
    client.destroy()
    server.destroy()
  })
})
