/**
 * Node listeners as applications, which follow only node's contract: how they end a response, and what
 * they do for clients that have disconnected.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import { fromNode } from '../../interfaces/node/from-node.ts'
import type { Journal } from './journal.ts'
import type { Apps } from './tools.ts'

const store: AsyncLocalStorage<string> = new AsyncLocalStorage()

type Ways = Record<string, (req: IncomingMessage, res: ServerResponse) => unknown>

/** How a listener ends after its response, each in the tick of `res.end()`. */
const ends: Ways = {
  request: (req) => void req.destroy(),
  response: (_req, res) => void res.destroy(),
  socket: (req) => void req.socket.destroy(),
  error: (req) => void req.destroy(new Error('after the answer')),
  throw: () => {
    throw new Error('after the answer')
  },
  reject: async () => {
    throw new Error('after the answer')
  },
}

/** Calls that respond to a client that has disconnected. */
const answers: Ways = {
  end: (_req, res) => void res.writeHead(204).end(),
  text: (_req, res) => void res.setHeader('Content-Type', 'text/plain').end('late'),
  head: (_req, res) => {
    res.writeHead(200, { 'Content-Length': 4 }).flushHeaders()
    res.end()
  },
  write: (_req, res) => {
    res.write('la')
    res.end('te')
  },
  hints: (_req, res) => {
    res.writeEarlyHints({ link: '</a>; rel=preload' })
    res.end()
  },
  trailers: (_req, res) => {
    res.addTrailers({ 'X-A': '1' })
    res.end()
  },
  cork: (_req, res) => {
    res.cork()
    res.write('a')
    res.uncork()
    res.end()
  },
  timeout: (req, res) => {
    res.setTimeout(1000)
    req.setTimeout(1000)
    res.end()
  },
}

/** Responses to an upgrade; the first is a WebSocket library's refusal. */
const refusals: Record<string, (socket: Duplex) => void> = {
  destroy: (socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\n')
    socket.destroy()
  },
  end: (socket) => void socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\n'),
  'end-destroy': (socket) => void socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\n').destroy(),
  'until-end': (socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\n')
    socket.write('not ')
    socket.write('you')
    socket.destroy()
  },
  length: (socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n')
    socket.write('not ')
    socket.write('you')
    socket.destroy()
  },
  chunked: (socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n')
    socket.write('4\r\nnot \r\n')
    socket.write('3\r\nyou\r\n0\r\n\r\n')
    socket.destroy()
  },
  later: (socket) => {
    setImmediate(() => {
      socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\n')
      process.nextTick(() => socket.destroy())
    })
  },
  corked: (socket) => {
    socket.cork()
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n')
    socket.write('not you')
    socket.uncork()
    socket.destroy()
  },
  slowly: (socket) => {
    const head = 'HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n'
    const pieces = [head, '4\r\nnot \r\n', '3\r\nyou\r\n', '0\r\n\r\n']
    const write = (): void => {
      socket.write(pieces.shift()!)
      if (pieces.length > 0) setTimeout(write, 1)
      else socket.destroy()
    }
    write()
  },
  'short-length': (socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nnot')
    socket.destroy()
  },
  'short-chunk': (socket) => {
    socket.write(
      'HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nnot\r\n',
    )
    socket.destroy()
  },
  'short-error': (socket) => {
    socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\nnot')
    socket.destroy(new Error('the copy failed'))
  },
  nothing: (socket) => void socket.destroy(),
  'half-head': (socket) => {
    socket.write('HTTP/1.1 401 Unauth')
    socket.destroy()
  },
}

function way(req: IncomingMessage): { name: string; key: string } {
  const { searchParams } = new URL(req.url!, 'http://x')
  return { name: searchParams.get('way')!, key: searchParams.get('key') ?? '' }
}

export const endings: readonly string[] = Object.keys(ends)
export const lateAnswers: readonly string[] = Object.keys(answers)

export function nodeApps(journal: Journal): Apps {
  return {
    /** `?way=…`: responds 413, and ends in that way. */
    'node-ended': fromNode((req, res) => {
      res.writeHead(413, { 'Content-Type': 'text/plain' }).end('too big')
      return ends[way(req).name]!(req, res)
    }),

    /** `?way=…&key=…`: responds from a timer after the client has disconnected. */
    'node-late': fromNode((req, res) => {
      const { name, key } = way(req)
      journal.record(key, 'running')
      res.once('close', () => {
        setImmediate(() => {
          answers[name]!(req, res)
          journal.record(key, `answered ${res.writableEnded} ${res.writableFinished}`)
        })
      })
    }),

    /** Reads its body once all of it has arrived, and reports what it saw of the body before. */
    'node-unread': fromNode(async (req, res) => {
      while (!req.complete) await iterationEnd()
      const { readableLength: length, readableEnded: ended } = req
      const coding = req.headers['transfer-encoding'] ?? null
      res.setHeader('Content-Type', 'application/json')
      res.end(JSON.stringify({ length, ended, coding, body: await text(req) }))
    }),

    /** `?key=…`: what listeners of its response find in their async context. */
    'node-context': fromNode((req, res) => {
      const { key } = way(req)
      store.run(key, () => {
        for (const event of ['finish', 'close']) {
          res.once(event, () => journal.record(key, `${event} ${store.getStore() === key}`))
        }
        setImmediate(() => res.setHeader('Content-Type', 'text/plain').end('found'))
      })
    }),

    /** `?way=…`: responds to an upgrade in that way. */
    'node-refuses': fromNode((_req, res) => void res.writeHead(404).end(), {
      onUpgrade: (req, socket) => refusals[way(req).name]!(socket),
    }),
  }
}
