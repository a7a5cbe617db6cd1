/** `fromNode` with the real exchange and lint on both sides: what a listener sees, and what its client gets. */

import assert from 'node:assert/strict'
import { IncomingMessage, ServerResponse as NodeServerResponse, type ServerResponse } from 'node:http'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import express from 'express'
import type { NodeConnection } from '../../../interfaces/node/connection.ts'
import { fromNode, type NodeListener } from '../../../interfaces/node/from-node.ts'
import { AbortError, HttpError } from '../../../protocol/contract/errors.ts'
import { RequestInput } from '../../../protocol/contract/input.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { FakeClock } from '../../support/clock.ts'
import { type Run, type RunOptions, run } from '../../support/exchange.ts'

/** Runs a listener as an application under lint. */
function serve(listener: NodeListener, options: RunOptions = {}): Run {
  return run(lint(fromNode(listener)), options)
}

/** An input with the whole of `text`, or one that the test fills. */
function input(text?: string): RequestInput & { consumedBytes: number } {
  const made = Object.assign(new RequestInput({ wanted() {}, consumed: (bytes) => (made.consumedBytes += bytes) }), {
    consumedBytes: 0,
  })
  if (text !== undefined) {
    made.push(Buffer.from(text))
    made.end()
  }
  return made
}

/** Runs event-loop iterations until the condition holds. */
async function until(condition: () => boolean): Promise<void> {
  do await turn()
  while (!condition())
}

const HTML: [string, string] = ['Content-Type', 'text/html']

describe('fromNode: the response', () => {
  it('sends a body that ends within the call with one head and its length', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/html' })
      res.end('hello')
    })
    await whenSettled
    assert.deepEqual(sink.calls, ['head 200 5 end'])
    assert.deepEqual(sink.headers, [HTML, ['Content-Length', '5']])
    assert.equal(sink.body, 'hello')
    assert.equal(sink.status, '200 OK')
  })

  it('sends a body that ends later in one tick as one chunk', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      setImmediate(() => res.setHeader('Content-Type', 'text/html').end('hello'))
    })
    await whenSettled
    assert.deepEqual(sink.calls, ['head 200 5 end'])
  })

  it('sends each write at once, without waiting for the next', async () => {
    let response: ServerResponse | undefined
    const { sink, whenSettled } = serve((_req, res) => {
      response = res
      res.setHeader('Content-Type', 'text/plain')
      res.write('one')
    })
    await until(() => sink.body === 'one')
    assert.equal(sink.length, -1)
    response!.write('two')
    await until(() => sink.body === 'onetwo')
    assert.equal(sink.ended, false)
    response!.end('three')
    await whenSettled
    assert.equal(sink.body, 'onetwothree')
    assert.equal(sink.ended, true)
    assert.equal(sink.header('transfer-encoding'), undefined)
  })

  it('sends the head alone when flushHeaders() is called', async () => {
    let response: ServerResponse | undefined
    const { sink, whenSettled } = serve((_req, res) => {
      response = res
      res.setHeader('Content-Type', 'text/event-stream')
      res.flushHeaders()
    })
    await until(() => sink.calls.length > 0)
    assert.equal(sink.calls[0], 'head 200')
    response!.end('x')
    await whenSettled
    assert.equal(sink.body, 'x')
    assert.equal(sink.calls.filter((call) => call.startsWith('head')).length, 1)
  })

  it('keeps order, case and repetition of the fields', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      res.setHeader('X-First', '1')
      res.setHeader('Set-Cookie', ['a=1', 'b=2'])
      res.setHeader('content-type', 'text/plain')
      res.end('')
    })
    await whenSettled
    assert.deepEqual(sink.headers, [
      ['X-First', '1'],
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
      ['content-type', 'text/plain'],
      ['Content-Length', '0'],
    ])
  })

  for (const [name, headers] of [
    ['an object', { 'Content-Type': 'text/html', 'Set-Cookie': ['a=1', 'b=2'] }],
    ['a flat list', ['Content-Type', 'text/html', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2']],
  ] as const) {
    it(`accepts the fields of writeHead as ${name}`, async () => {
      const { sink, whenSettled } = serve((_req, res) => {
        res.writeHead(201, 'Made', headers as never)
        res.end('x')
      })
      await whenSettled
      assert.equal(sink.status, '201 Made')
      assert.deepEqual(sink.headers, [HTML, ['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], ['Content-Length', '1']])
    })
  }

  it('drops hop-by-hop fields, including those that Connection names', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      res.writeHead(200, {
        'Content-Type': 'text/html',
        Connection: 'close, X-Hop',
        'X-Hop': '1',
        'Keep-Alive': 'timeout=5',
        'Transfer-Encoding': 'chunked',
        Trailer: 'X-End',
        Upgrade: 'h2c',
      })
      res.end('x')
    })
    await whenSettled
    // The length of the array is known, and the exchange declares it.
    assert.deepEqual(sink.headers, [HTML, ['Content-Length', '1']])
  })

  for (const [status, expected] of [
    [204, []],
    [304, []],
  ] as const) {
    it(`sends no body and adds no length for a ${status}`, async () => {
      const { sink, whenSettled } = serve((_req, res) => {
        res.statusCode = status
        res.end('not this')
      })
      await whenSettled
      assert.equal(sink.body, '')
      assert.deepEqual(sink.headers, expected)
    })
  }

  it('answers HEAD with the fields alone', async () => {
    const { sink, whenSettled } = serve(
      (_req, res) => {
        res.writeHead(200, { 'Content-Type': 'text/html', 'Content-Length': 5 })
        res.end('hello')
      },
      { method: 'HEAD' },
    )
    await whenSettled
    assert.deepEqual(sink.headers, [HTML, ['Content-Length', '5']])
    assert.equal(sink.body, '')
  })

  it('replaces an empty reason', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      res.writeHead(404, '', { 'Content-Type': 'text/html' })
      res.end()
    })
    await whenSettled
    assert.equal(sink.status, '404 Not Found')
  })

  it('sends trailers', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/plain', Trailer: 'X-Sum' })
      res.write('body')
      res.addTrailers({ 'X-Sum': '42', 'Content-Length': '9' })
      res.end()
    })
    await whenSettled
    assert.equal(sink.body, 'body')
    assert.deepEqual(sink.trailers, [['X-Sum', '42']])
  })

  it('sends 103 Early Hints, and neither 100 nor 102', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      res.writeContinue()
      res.writeProcessing()
      res.writeEarlyHints({ link: ['</a.css>; rel=preload', '</b.js>; rel=preload'], 'x-hint': '1' })
      res.writeHead(200, { 'Content-Type': 'text/plain' })
      res.end()
    })
    await whenSettled
    assert.deepEqual(sink.informed, [
      [
        '103 Early Hints',
        [
          ['Link', '</a.css>; rel=preload, </b.js>; rel=preload'],
          ['x-hint', '1'],
        ],
      ],
    ])
  })

  it('applies backpressure: write() says no, and drain follows once the sink has room', async () => {
    const events: string[] = []
    const { sink, exchange, whenSettled } = serve(
      (_req, res) => {
        res.setHeader('Content-Type', 'text/plain')
        const chunk = Buffer.alloc(64 * 1024)
        const more = (): void => {
          for (let i = 0; i < 8; i++) {
            if (!res.write(chunk)) {
              events.push('full')
              res.once('drain', () => {
                events.push('drain')
                res.end()
              })
              return
            }
          }
        }
        more()
      },
      { prepare: (made) => void (made.sink.room = false) },
    )
    await until(() => sink.chunks.length > 0)
    for (let i = 0; i < 5; i++) await turn()
    assert.deepEqual(events, ['full'])
    const before = sink.chunks.length
    sink.room = true
    exchange.resume()
    await whenSettled
    assert.ok(before <= 1)
    assert.deepEqual(events, ['full', 'drain'])
    assert.equal(sink.ended, true)
  })

  it("emits 'finish' and then 'close', and calls the callbacks of writes", async () => {
    const events: string[] = []
    const { whenSettled } = serve((req, res) => {
      req.on('close', () => events.push('req close'))
      res.on('prefinish', () => events.push('prefinish'))
      res.on('finish', () => events.push(`finish ${res.writableFinished}`))
      res.on('close', () => events.push('close'))
      res.setHeader('Content-Type', 'text/plain')
      res.write('a', () => events.push('written'))
      res.end('b', () => events.push('ended'))
    })
    await whenSettled
    await until(() => events.includes('close') && events.includes('req close'))
    assert.deepEqual(
      events.filter((event) => event !== 'req close'),
      ['prefinish', 'written', 'ended', 'finish true', 'close'],
    )
  })

  it('refuses a second head as node does', () => {
    let code: unknown
    serve((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/plain' })
      try {
        res.writeHead(200)
      } catch (error) {
        code = (error as NodeJS.ErrnoException).code
      }
      res.end()
    })
    assert.equal(code, 'ERR_HTTP_HEADERS_SENT')
  })

  it('survives a framework that puts its own prototypes below req and res', async () => {
    const request = Object.create(IncomingMessage.prototype)
    const response = Object.create(NodeServerResponse.prototype, {
      send: {
        value(this: ServerResponse, text: string) {
          this.setHeader('Content-Type', 'text/plain').end(text)
        },
      },
    })
    const { sink, whenSettled } = serve(
      (req, res) => {
        Object.setPrototypeOf(req, request)
        Object.setPrototypeOf(res, response)
        let text = ''
        req.on('data', (chunk) => (text += chunk))
        req.on('end', () => (res as unknown as { send(text: string): void }).send(text.toUpperCase()))
      },
      { method: 'POST', headers: ['Host', 'x', 'Content-Length', '3'], input: input('abc') },
    )
    await whenSettled
    assert.equal(sink.body, 'ABC')
  })
})

describe('fromNode: the socket', () => {
  const hello = (res: ServerResponse): void => void res.setHeader(...HTML).end('hello')
  for (const [how, listener] of [
    ['is ended within the call', (_req: IncomingMessage, res: ServerResponse) => hello(res)],
    ['is ended later', (_req: IncomingMessage, res: ServerResponse) => void setImmediate(hello, res)],
    ['has no body', (_req: IncomingMessage, res: ServerResponse) => void Object.assign(res, { statusCode: 204 }).end()],
    ['comes from Express', express().get('/', (_req, res) => void res.send('hello'))],
  ] as const) {
    it(`is not initialised as a stream if the response ${how}`, async () => {
      let connection: NodeConnection | undefined
      const { whenSettled } = serve((req, res) => {
        connection = req.socket as unknown as NodeConnection
        return listener(req, res)
      })
      await whenSettled
      for (let at = 0; at < 5; at++) await turn()
      assert.equal(connection!.initialized, false)
    })
  }
})

describe('fromNode: the request', () => {
  it('is an IncomingMessage with the raw lines, the target and the client of the environ', async () => {
    let seen: Record<string, unknown> = {}
    const { whenSettled } = serve(
      (req, res) => {
        seen = {
          real: req instanceof IncomingMessage && res instanceof NodeServerResponse,
          method: req.method,
          url: req.url,
          version: [req.httpVersion, req.httpVersionMajor, req.httpVersionMinor],
          raw: req.rawHeaders,
          cookie: req.headers.cookie,
          distinct: req.headersDistinct['x-a'],
          address: [req.socket.remoteAddress, req.socket.remotePort, (req.socket as { encrypted?: boolean }).encrypted],
        }
        res.writeHead(204).end()
      },
      { target: '/a%20b?c=%zz', headers: ['Host', 'h', 'X-A', '1', 'x-a', '2', 'Cookie', 'a=1', 'cookie', 'b=2'] },
    )
    await whenSettled
    assert.deepEqual(seen, {
      real: true,
      method: 'GET',
      url: '/a%20b?c=%zz',
      version: ['1.1', 1, 1],
      raw: ['Host', 'h', 'X-A', '1', 'x-a', '2', 'Cookie', 'a=1', 'cookie', 'b=2'],
      cookie: 'a=1; b=2',
      distinct: ['1', '2'],
      address: ['192.0.2.1', 40000, false],
    })
  })

  it('emits its body as it arrives, and is complete at its end', async () => {
    const body = input()
    const got: string[] = []
    const { whenSettled } = serve(
      (req, res) => {
        req.on('data', (chunk: Buffer) => got.push(chunk.toString()))
        req.on('end', () => {
          got.push(`end ${req.complete}`)
          res.writeHead(204).end()
        })
      },
      { method: 'POST', headers: ['Host', 'x', 'Content-Length', '6'], input: body },
    )
    body.push(Buffer.from('abc'))
    await until(() => got.length === 1)
    body.push(Buffer.from('def'))
    await until(() => got.length === 2)
    body.end()
    await whenSettled
    assert.deepEqual(got, ['abc', 'def', 'end true'])
  })

  it('has Transfer-Encoding: chunked for a body of unknown length, and its trailers', async () => {
    const body = input()
    body.push(Buffer.from('abc'))
    body.end(['X-Sum', '6'])
    let seen: unknown
    const { whenSettled } = serve(
      (req, res) => {
        req.resume().on('end', () => {
          seen = [req.headers['transfer-encoding'], req.rawTrailers, req.trailers['x-sum']]
          res.writeHead(204).end()
        })
      },
      { method: 'DELETE', headers: ['Host', 'x'], input: body },
    )
    await whenSettled
    assert.deepEqual(seen, ['chunked', ['X-Sum', '6'], '6'])
  })

  it('reads no more of an unread body than it has room for', async () => {
    const body = input()
    const chunk = Buffer.alloc(64 * 1024)
    for (let i = 0; i < 16; i++) body.push(chunk)
    body.end()
    let request: IncomingMessage | undefined
    const { whenSettled } = serve(
      (req, res) => {
        request = req
        req.once('readable', () => {})
        req.on('end', () => res.writeHead(204).end())
      },
      { method: 'POST', headers: ['Host', 'x', 'Content-Length', String(16 * chunk.length)], input: body },
    )
    await until(() => body.consumedBytes > 0)
    for (let i = 0; i < 10; i++) await turn()
    assert.ok(body.consumedBytes <= 3 * chunk.length, `${body.consumedBytes} bytes were taken`)
    request!.resume()
    await whenSettled
    assert.equal(body.consumedBytes, 16 * chunk.length)
  })

  it('does not read an unread body after the response is over', async () => {
    const body = input()
    const events: string[] = []
    const { whenSettled } = serve(
      (req, res) => {
        req.on('aborted', () => events.push('aborted')).on('close', () => events.push('close'))
        res.writeHead(204).end()
      },
      { method: 'POST', headers: ['Host', 'x', 'Content-Length', '6'], input: body },
    )
    await whenSettled
    await until(() => events.includes('close'))
    assert.deepEqual(events, ['close'])
    assert.equal(body.consumedBytes, 0)
  })

  it('truncates a body that is being read when the response ends first', async () => {
    const events: string[] = []
    const { whenSettled } = serve(
      (req, res) => {
        req.on('data', () => {})
        req.on('error', (error: NodeJS.ErrnoException) => events.push(`error ${error.code}`))
        req.on('end', () => events.push('end')).on('close', () => events.push('close'))
        res.on('finish', () => events.push('finish'))
        res.setHeader('Content-Type', 'text/plain').end('early')
      },
      { method: 'POST', headers: ['Host', 'x', 'Content-Length', '6'], input: input() },
    )
    await whenSettled
    await until(() => events.includes('close'))
    assert.deepEqual(events, ['finish', 'error ECONNRESET', 'close'])
  })

  it('never ends a body that is shorter than its Content-Length', async () => {
    const events: string[] = []
    const { sink, whenSettled } = serve(
      (req) => {
        req.resume()
        req.on('end', () => events.push('end')).on('aborted', () => events.push('aborted'))
      },
      { method: 'POST', headers: ['Host', 'x', 'Content-Length', '6'], input: input('abc') },
    )
    await whenSettled
    assert.deepEqual(events, ['aborted'])
    assert.equal(sink.status, '500 Internal Server Error')
  })

  it('answers with the status that the input failed with', async () => {
    const body = input()
    const { sink, whenSettled } = serve((req) => void req.resume(), {
      method: 'POST',
      headers: ['Host', 'x', 'Content-Length', '6'],
      input: body,
    })
    body.fail(new HttpError(413, 'BODY_TOO_LARGE', 'the body is too large'))
    await whenSettled
    assert.equal(sink.status.slice(0, 3), '413')
  })
})

describe('fromNode: ends', () => {
  it('emits a client’s disconnect to the listener, on the request first', async () => {
    const events: string[] = []
    const { exchange, whenSettled } = serve((req, res) => {
      req.on('aborted', () => events.push('req aborted'))
      req.on('error', (error: NodeJS.ErrnoException) => events.push(`req error ${error.code}`))
      req.on('close', () => events.push('req close'))
      res.on('finish', () => events.push('res finish'))
      res.on('close', () => events.push(`res close ${res.destroyed} ${req.socket.destroyed}`))
      res.setHeader('Content-Type', 'text/plain')
      res.write('begun')
    })
    exchange.abort(new AbortError('CLIENT_GONE', 'the client went away'))
    await whenSettled
    await until(() => events.includes('req close'))
    assert.deepEqual(events, ['req aborted', 'res close true true', 'req error ECONNRESET', 'req close'])
  })

  it('passes an error to the callback of a write after the abort, and does not throw', async () => {
    let response: ServerResponse | undefined
    const { exchange, whenSettled } = serve((_req, res) => {
      response = res
    })
    exchange.abort(new AbortError('CLIENT_GONE', 'the client went away'))
    await whenSettled
    await until(() => response!.destroyed)
    const error = await new Promise((resolve) => response!.write('late', resolve))
    assert.equal((error as NodeJS.ErrnoException).code, 'ERR_STREAM_DESTROYED')
  })

  it('answers 500 when the listener throws before the head is sent', async () => {
    const { sink, log, whenSettled } = serve(() => {
      throw new Error('broken')
    })
    await whenSettled
    assert.equal(sink.status, '500 Internal Server Error')
    assert.deepEqual(log.messages('error'), ['the application failed'])
  })

  it('answers 500 when the promise of a listener rejects', async () => {
    const { sink, whenSettled } = serve(async () => {
      await turn()
      throw new Error('broken')
    })
    await whenSettled
    assert.equal(sink.status, '500 Internal Server Error')
  })

  it('truncates the response when the promise of a listener rejects in mid-response', async () => {
    const { sink, whenSettled } = serve(async (_req, res) => {
      res.setHeader('Content-Type', 'text/plain').write('begun')
      await until(() => sink.body === 'begun')
      throw new Error('broken')
    })
    await whenSettled
    assert.equal(sink.aborted?.code, 'APPLICATION')
    assert.equal(sink.ended, false)
  })

  it('truncates the response when the listener destroys it', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      res.setHeader('Content-Type', 'text/plain').write('begun')
      void until(() => sink.body === 'begun').then(() => res.destroy())
    })
    await whenSettled
    assert.equal(sink.aborted?.code, 'APPLICATION')
    assert.equal(sink.ended, false)
  })

  it('answers with the status of an HttpError that destroys the response', async () => {
    const { sink, whenSettled } = serve((_req, res) => {
      setImmediate(() => res.destroy(new HttpError(502, 'BAD_GATEWAY', 'the upstream is gone')))
    })
    await whenSettled
    assert.equal(sink.status, '502 Bad Gateway')
  })

  it('destroys a request without activity after its setTimeout, if no listener handles it', async () => {
    const clock = new FakeClock()
    const { sink, whenSettled } = run(lint(fromNode((req) => void req.setTimeout(1000), { clock })))
    clock.advance(999)
    assert.equal(sink.calls.length, 0)
    clock.advance(1)
    await whenSettled
    assert.equal(sink.status, '500 Internal Server Error')
  })

  it("emits 'timeout' once, and again after new activity, as on node", async () => {
    const clock = new FakeClock()
    let timeouts = 0
    let res: ServerResponse | undefined
    run(
      lint(
        fromNode(
          (_req, given) => {
            res = given.setTimeout(1000, () => timeouts++)
          },
          { clock },
        ),
      ),
    )
    clock.advance(5000)
    assert.equal(timeouts, 1)
    res!.writeHead(200, { 'Content-Type': 'text/plain' })
    await new Promise((resolve) => res!.write('moves', resolve))
    clock.advance(5000)
    assert.equal(timeouts, 2)
  })

  it('keeps a request that timed out if a listener handles it', () => {
    const clock = new FakeClock()
    const { sink } = run(
      lint(
        fromNode(
          (_req, res) => {
            res.setTimeout(1000)
            res.on('timeout', () => res.writeHead(503, { 'Content-Type': 'text/plain' }).end('slow'))
          },
          { clock },
        ),
      ),
    )
    clock.advance(1000)
    return until(() => sink.body === 'slow')
  })
})
