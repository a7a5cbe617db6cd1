/**
 * Listeners that destroy their streams after a response, and listeners that respond to a disconnected client: here and
 * on node:http. For each method in each state see `parity-methods.test.ts`.
 */

import { setImmediate as turn } from 'node:timers/promises'
import express from 'express'
import Fastify from 'fastify'
import Koa from 'koa'
import { type Case, compare, type Note, watch } from '../../support/parity.ts'

type Listener = Case['listener']

const upload = { request: { method: 'POST', headers: { 'Content-Length': 5 } }, body: 'hello' } as const

/** Responds, and destroys one of the three in the same tick. */
const destroyed: [string, Listener][] = [
  [
    'the request',
    (req, res) => {
      res.writeHead(413).end('too big')
      req.destroy()
    },
  ],
  [
    'the response',
    (_req, res) => {
      res.writeHead(413).end('too big')
      res.destroy()
    },
  ],
  [
    'the socket',
    (req, res) => {
      res.writeHead(413).end('too big')
      req.socket.destroy()
    },
  ],
  [
    'the socket, once it is sent',
    (req, res) => {
      res.writeHead(413).end('too big')
      req.socket.destroySoon()
    },
  ],
  [
    'the request with an error',
    (req, res) => {
      res.writeHead(413).end('too big')
      req.destroy(new Error('x'))
    },
  ],
  [
    'a response without a body',
    (_req, res) => {
      res.writeHead(204).end()
      res.destroy()
    },
  ],
  [
    'a response written in several pieces',
    (_req, res) => {
      res.write('a')
      // In the tick after the first chunk was passed on, before the exchange has read it.
      process.nextTick(() => {
        res.write('b')
        res.end('c')
        res.destroy()
      })
    },
  ],
  [
    'a response whose head alone was sent',
    (_req, res) => {
      res.writeHead(200, { 'Content-Length': 3 }).flushHeaders()
      res.destroy()
    },
  ],
  [
    'a response in its middle, which is truncated',
    async (_req, res) => {
      res.writeHead(200, { 'Content-Length': 100 })
      res.write('begun')
      await turn()
      res.write('more')
      await turn()
      res.destroy()
    },
  ],
]

/** An Express application as a listener. */
function app(handler: express.RequestHandler, note?: (error: unknown) => void): Listener {
  return (req, res, log) => {
    const made = express()
    made.set('env', 'test')
    made.use(handler)
    made.use(((error, _req, _res, next) => {
      note?.(error)
      log(`error middleware: ${(error as Error).message}`)
      next(error)
    }) as express.ErrorRequestHandler)
    made(req, res)
  }
}

/** Responds in `way` after the client has disconnected. */
function late(way: (res: Parameters<Listener>[1], note: Note) => void): Case['listener'] {
  return (req, res, note) => {
    watch(req, res, note)
    res.write('begun')
    res.once('close', () => {
      setImmediate(() => {
        way(res, note)
        note('last')
      })
    })
  }
}

/** Frameworks whose error handling is recorded, and which respond after their client has disconnected. */
const frameworks: readonly (readonly [name: string, make: (note: Note) => Listener | Promise<Listener>])[] = [
  [
    'an Express handler that awaits',
    (note) =>
      app(async (req, res) => {
        await gone(req)
        res.status(204).end()
        note(`${res.headersSent} ${res.writableEnded}`)
      }),
  ],
  [
    'an Express handler that sends',
    (note) =>
      app(async (req, res) => {
        await gone(req)
        res.json({ a: 1 })
        note(`${res.headersSent} ${res.writableEnded}`)
      }),
  ],
  [
    'Koa',
    (note) => {
      const koa = new Koa()
      koa.on('error', (error: Error) => note(`error event: ${error.message}`))
      koa.use(async (context) => {
        await gone(context.req)
        context.status = 204
      })
      koa.use(() => {})
      return koa.callback() as Listener
    },
  ],
  [
    'Fastify',
    async (note) => {
      const fastify = Fastify()
      fastify.addHook('onError', async (_request, _reply, error) => note(`onError: ${error.message}`))
      fastify.addHook('onSend', async (_request, reply, payload) => {
        note(`onSend ${reply.statusCode}`)
        return payload
      })
      fastify.get('/', async (request, reply) => {
        await gone(request.raw)
        return reply.code(204).send()
      })
      await fastify.ready()
      return fastify.routing as unknown as Listener
    },
  ],
]

/** Resolves a few iterations after the client of `req` has disconnected. */
async function gone(req: Parameters<Listener>[0]): Promise<void> {
  if (!req.socket.destroyed) await new Promise((resolve) => req.socket.once('close', resolve))
  await turn()
}

const cases: Case[] = [
  ...frameworks.map(
    ([name, make]): Case => ({
      title: `${name}: answers a client that has disconnected`,
      leaves: true,
      last: 'last',
      listener: async (req, res, note) => {
        const listener = await make(note)
        // A signal for the client to disconnect.
        note('req data')
        void gone(req).then(async () => {
          for (let at = 0; at < 10; at++) await turn()
          note('last')
        })
        listener(req, res, note)
      },
    }),
  ),
  ...destroyed.map(([what, listener]): Case => ({ title: `destroying ${what} after the answer`, listener })),
  ...destroyed.map(
    ([what, listener]): Case => ({ title: `destroying ${what} after the answer to an upload`, listener, ...upload }),
  ),
  {
    title: 'Express: an error after res.json()',
    listener: app((_req, res) => {
      res.json({ a: 1 })
      throw new Error('after')
    }),
  },
  {
    title: 'Express: next(error) after res.send()',
    listener: app((_req, res, next) => {
      res.send('sent')
      next(new Error('after'))
    }),
  },
  {
    title: 'Express: a rejection after res.json()',
    listener: app(async (_req, res) => {
      res.json({ a: 1 })
      await null
      throw new Error('after')
    }),
  },
  {
    title: 'Express: an answer to a client that has disconnected',
    leaves: true,
    request: { method: 'POST' },
    begins: 'some',
    last: 'last',
    listener: (req, res, note) => {
      req.once('data', () => note('req data'))
      app((_req, answer) => {
        answer.on('close', async () => {
          await turn()
          answer.status(204).end()
          note(`${answer.headersSent} ${answer.writableEnded} ${answer.writableFinished} ${answer.destroyed}`)
          await turn()
          note('last')
        })
      })(req, res, note)
    },
  },
  {
    title: 'early hints for a client that has disconnected',
    abort: true,
    last: 'last',
    listener: late((res, note) => {
      try {
        res.writeEarlyHints({ link: '</a>; rel=preload' })
      } catch (error) {
        note(String((error as NodeJS.ErrnoException).code))
      }
      res.end()
    }),
  },
  {
    title: 'invalid early hints',
    listener: (_req, res, note) => {
      for (const hints of [null, 'x', { link: 'x' }, { link: 5 }, { link: '</a>; rel=preload', 'bad name': '1' }]) {
        try {
          res.writeEarlyHints(hints as never)
          note('nothing')
        } catch (error) {
          note(String((error as NodeJS.ErrnoException).code))
        }
      }
      res.on('close', () => note('res close'))
      res.end()
    },
  },
  {
    title: 'a raw response to an ordinary request',
    listener: (req) => {
      req.socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad')
    },
  },
  ...(['destroy', 'emit'] as const).flatMap((how) =>
    [true, false].map(
      (listens): Case => ({
        title: `${how}: an error of the socket in mid-response, ${listens ? 'with' : 'without'} listeners`,
        last: 'res close',
        listener: async (req, res, note) => {
          const { socket } = req
          if (listens) {
            socket.once('error', (error) => note(`socket error ${error.message}`))
            socket.on('close', (failed) => note(`socket close ${failed}`))
          }
          res.on('close', () => setImmediate(() => note('res close')))
          res.writeHead(200, { 'Content-Length': 100 })
          res.write('begun')
          await turn()
          if (how === 'destroy') socket.destroy(new Error('boom'))
          else note(`emitted ${socket.emit('error', new Error('boom'))} ${socket.destroyed} ${socket.writable}`)
        },
      }),
    ),
  ),
  {
    title: "'close' of a connection, for listeners of its socket",
    request: { agent: false, headers: { Connection: 'close' } },
    last: 'socket close',
    listener: (req, res, note) => {
      req.socket.on('close', (failed) => note(`socket close ${failed} ${req.aborted}`))
      req.on('error', (error) => note(`req error ${error.message}`))
      res.end('x')
    },
  },
]

compare('a Node listener that destroys what it answered, here and before node:http', cases)
