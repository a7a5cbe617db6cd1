/** How a listener's exchange ends if the listener and its client disagree about the end; with the real exchange. */

import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fromNode, fromServer, type NodeListener } from '../../../interfaces/node/from-node.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { type Run, type RunOptions, run } from '../../support/exchange.ts'
import { until } from '../../support/until.ts'

const GONE = new AbortError('CLIENT_GONE', 'the client went away')

function serve(listener: NodeListener, options: RunOptions = {}): Run {
  return run(fromNode(listener), options)
}

function upgrade(onUpgrade: (socket: Duplex) => unknown, options: RunOptions = {}): Run {
  return run(
    fromNode((_req, res) => res.end(), { onUpgrade: (_req, socket) => onUpgrade(socket) }),
    {
      ...options,
      upgrade: true,
      headers: ['Host', 'x', 'Connection', 'Upgrade', 'Upgrade', 'echo'],
    },
  )
}

describe('fromNode: a listener that fails after its response', () => {
  const failures: readonly (readonly [how: string, listener: NodeListener])[] = [
    [
      'throws in the call',
      (_req, res) => {
        res.end('sent')
        throw new Error('broken')
      },
    ],
    [
      'rejects',
      async (_req, res) => {
        res.end('sent')
        throw new Error('broken')
      },
    ],
    [
      'rejects once its response was sent',
      async (_req, res) => {
        res.end('sent')
        await until(() => res.closed)
        throw new Error('broken')
      },
    ],
  ]
  for (const [how, listener] of failures) {
    it(`and ${how}: the response stays, and the failure is logged with the request's id`, async () => {
      const { sink, log, environ, whenSettled } = serve(listener)
      await whenSettled
      await until(() => log.lines.length > 0)
      assert.equal(sink.status, '200 OK')
      assert.equal(sink.body, 'sent')
      assert.equal(sink.ended, true)
      const [first] = log.lines
      assert.equal(first?.level, 'error')
      assert.equal(first?.message, 'the listener failed after its response was written or aborted: Error: broken')
      assert.equal(first?.fields['requestId'], environ.gantry.requestId)
    })
  }

  it('logs its own failure after the client has disconnected, but not the disconnect', async () => {
    const told: unknown[] = []
    for (const error of [new Error('broken'), undefined]) {
      const { exchange, log, whenSettled } = serve(async (req) => {
        try {
          for await (const _ of req);
          await until(() => req.destroyed)
        } catch {}
        await until(() => req.destroyed)
        throw error ?? Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
      })
      exchange.abort(GONE)
      await whenSettled
      for (let at = 0; at < 5; at++) await turn()
      told.push(log.messages('error')[0])
    }
    assert.deepEqual(told, ['the listener failed after its response was written or aborted: Error: broken', undefined])
  })
})

describe('fromNode: a head that the exchange refuses', () => {
  it('does not throw out of writeHead(): the client gets a 500, and the refusal is logged', async () => {
    let thrown: unknown
    const { sink, log, whenSettled } = serve((_req, res) => {
      setImmediate(() => {
        try {
          res.writeHead(999).end('strange')
        } catch (error) {
          thrown = error
        }
      })
    })
    await whenSettled
    assert.equal(thrown, undefined)
    assert.equal(sink.status, '500 Internal Server Error')
    assert.deepEqual(log.messages('error'), ['the application failed'])
    assert.match(String(log.lines[0]?.fields['err']), /999/)
  })

  it('does not throw either if the request was aborted before its listener was called', async () => {
    const made = serve(
      (_req, res) => {
        res.writeHead(200).end('late')
        assert.equal(res.headersSent, true)
        assert.equal(res.socket!.destroyed, true)
      },
      { hold: true },
    )
    made.exchange.abort(GONE)
    made.exchange.run()
    await made.whenSettled
    assert.deepEqual(made.sink.calls, [])
    assert.deepEqual(made.log.messages('error'), [])
  })
})

describe('fromNode: a socket to which the listener writes itself', () => {
  it("sends the client of an upgrade the refusal that ws's README shows", async () => {
    const { sink, log, whenSettled } = upgrade((socket) => {
      socket.write('HTTP/1.1 401 Unauthorized\r\n\r\n')
      socket.destroy()
    })
    await whenSettled
    assert.deepEqual(sink.calls, ['head 401 end'])
    assert.deepEqual(log.lines, [])
  })

  it('sends the client what was written, and then truncates an incomplete response', async () => {
    const { sink, whenSettled } = upgrade((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n')
      socket.write('one')
      socket.write('two')
      socket.destroy()
    })
    await whenSettled
    assert.equal(sink.body, 'onetwo')
    assert.equal(sink.ended, false)
    assert.equal(sink.aborted?.code, 'APPLICATION')
  })

  it('truncates at once more bytes than a system would buffer', async () => {
    const { sink, whenSettled } = upgrade((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n')
      socket.write(Buffer.alloc(60_000, 'x'))
      socket.write(Buffer.alloc(70_000, 'y'))
      socket.destroy()
    })
    await whenSettled
    assert.equal(sink.body, 'x'.repeat(60_000))
    assert.equal(sink.ended, false)
    assert.equal(sink.aborted?.code, 'APPLICATION')
  })

  it('accepts early hints before its head, raw or through the response', async () => {
    const hints = ['103 Early Hints', [['Link', '</a>; rel=preload']]]
    const hinted = upgrade((socket) => {
      socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n')
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    })
    await hinted.whenSettled
    assert.deepEqual(hinted.sink.informed, [hints])
    assert.equal(hinted.sink.status, '200 OK')
  })

  it('accepts a complete raw response to an ordinary request, and closes `res`', async () => {
    const events: string[] = []
    const { sink, whenSettled } = serve((req, res) => {
      req.on('aborted', () => events.push('aborted'))
      res.on('close', () => events.push(`close ${res.headersSent}`))
      req.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
    await whenSettled
    await until(() => events.length > 1)
    assert.deepEqual([sink.status, sink.body, sink.ended], ['200 OK', 'ok', true])
    // As node's streams do if the connection closes before the response was ended.
    assert.deepEqual(events, ['aborted', 'close false'])
  })

  it('answers 500 for bytes that are not a response, and closes `res`', async () => {
    const events: string[] = []
    const { sink, log, whenSettled } = serve((req: IncomingMessage, res: ServerResponse) => {
      res.on('close', () => events.push(`close ${res.headersSent}`))
      req.socket.write('hello\r\n\r\n')
    })
    await whenSettled
    await until(() => events.length > 0)
    assert.equal(sink.status, '500 Internal Server Error')
    assert.match(String(log.lines[0]?.fields['err']), /not an HTTP\/1\.1 response/)
    assert.deepEqual(events, ['close false'])
  })
})

describe("fromNode: an 'error' that the listener emits on its socket before it answers", () => {
  it('causes a 400, as on node, and reaches the listeners of the socket, if any', async () => {
    for (const listens of [true, false]) {
      const events: string[] = []
      const { sink, whenSettled } = serve((req, res) => {
        if (listens) req.socket.once('error', ({ message }) => events.push(`error ${message}`))
        res.on('close', () => events.push('res close'))
        assert.equal(req.socket.emit('error', new Error('boom')), true)
        assert.equal(req.socket.destroyed, true)
      })
      await whenSettled
      await until(() => events.includes('res close'))
      assert.equal(sink.status, '400 Bad Request')
      assert.deepEqual(events, listens ? ['error boom', 'res close'] : ['res close'])
    }
  })

  it("goes to the server's 'clientError' listeners instead, which answer", async () => {
    const server = createServer(({ socket }) => void socket.emit('error', new Error('boom')))
    server.on('clientError', ({ message }, socket) =>
      socket.end(`HTTP/1.1 418 ${message}\r\nContent-Length: 0\r\n\r\n`),
    )
    const { sink, whenSettled } = run(fromServer(server))
    await whenSettled
    assert.equal(sink.status, '418 boom')
  })

  it('reaches the listeners of an upgraded socket, and ends nothing without them', async () => {
    for (const listens of [true, false]) {
      const errors: string[] = []
      const { whenSettled } = upgrade((socket) => {
        if (listens) socket.on('error', ({ message }) => errors.push(message))
        socket.destroy(new Error('boom'))
      })
      await whenSettled
      await turn()
      assert.deepEqual(errors, listens ? ['boom'] : [])
    }
  })
})

describe('fromNode: a response whose client does not read', () => {
  const ways: readonly (readonly [what: string, end: (req: IncomingMessage, res: ServerResponse) => unknown])[] = [
    ['the response', (_req, res) => res.destroy()],
    ['the response, with an error', (_req, res) => res.destroy(new Error('x'))],
    ['the request', (req) => req.destroy()],
    ['the socket', (req) => req.socket.destroy()],
    ['the socket, by a reset', (req) => req.socket.resetAndDestroy()],
  ]
  for (const [what, end] of ways) {
    it(`frees its slot when the listener destroys ${what}`, async () => {
      let given: [IncomingMessage, ServerResponse] | undefined
      const { sink, whenSettled, settled } = serve(
        (req, res) => {
          given = [req, res]
          res.on('error', () => {})
          req.on('error', () => {})
          res.write('taken')
          setImmediate(() => res.write('waits'))
        },
        { prepare: (made) => void (made.sink.room = false) },
      )
      await until(() => sink.body === 'taken')
      for (let at = 0; at < 5; at++) await turn()
      assert.equal(settled(), 0)
      end(...given!)
      await whenSettled
      assert.equal(sink.body, 'taken')
      assert.equal(sink.aborted?.code, 'APPLICATION')
      assert.equal(sink.ended, false)
    })
  }

  it('is kept if its listener destroys it after its end', async () => {
    const made = serve(
      (_req, res) => {
        res.write('taken')
        setImmediate(() => {
          res.end(' whole')
          res.destroy()
        })
      },
      { prepare: (made) => void (made.sink.room = false) },
    )
    await until(() => made.sink.body === 'taken')
    for (let at = 0; at < 5; at++) await turn()
    made.sink.room = true
    made.exchange.resume()
    await made.whenSettled
    assert.equal(made.sink.body, 'taken whole')
    assert.equal(made.sink.ended, true)
  })

  it('frees its slot if it refuses an upgrade and its socket is destroyed', async () => {
    let socket: Duplex | undefined
    const made = upgrade(
      (given) => {
        socket = given
        socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\ntaken')
      },
      { prepare: (made) => void (made.sink.room = false) },
    )
    await until(() => made.sink.body === 'taken')
    for (let at = 0; at < 5; at++) await turn()
    assert.equal(made.settled(), 0)
    socket!.destroy(new Error('x'))
    await made.whenSettled
    assert.equal(made.sink.aborted?.code, 'APPLICATION')
  })
})

describe('fromNode: the socket of a request that is over', () => {
  it("emits 'close' to its listeners, and aborts neither the request nor its signal", async () => {
    const events: string[] = []
    let request: (IncomingMessage & { signal?: AbortSignal }) | undefined
    const { whenSettled } = serve((req, res) => {
      request = req
      req.on('error', () => events.push('error'))
      req.on('aborted', () => events.push('aborted'))
      req.socket.on('close', () => events.push('socket close'))
      void request.signal
      res.on('close', () => events.push('res close'))
      res.end('x')
    })
    await whenSettled
    await until(() => events.includes('socket close'))
    assert.deepEqual(events, ['res close', 'socket close'])
    assert.notEqual(request?.signal?.aborted, true)
    assert.equal(request?.complete, true)
  })
})
