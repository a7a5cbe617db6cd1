/** How frameworks and their plugins use requests and responses, here and on node:http; see `test/support/parity.ts`. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import { finished, pipeline, Readable, Transform } from 'node:stream'
import express from 'express'
import { type Case, compare, watch } from '../../support/parity.ts'

const require = createRequire(import.meta.url)
/** Dependencies of Express and Koa; they have no types here. */
const onFinished = require('on-finished') as ((message: object, listener: (error?: Error) => void) => void) & {
  isFinished(message: object): boolean | undefined
}
const finalhandler = require('finalhandler') as (
  req: IncomingMessage,
  res: ServerResponse,
  options: object,
) => (error?: unknown) => void

const FILE = new URL('../../../LICENSE', import.meta.url).pathname
/** A directory whose modification times are the same for both servers. */
const sending = express()
  .set('env', 'test')
  .get('/file', (_req, res) => res.sendFile(FILE))

const cases: Case[] = [
  {
    title: 'the state of a response step by step',
    listener: (_req, res, note) => {
      const state = (): string =>
        [
          res.headersSent,
          res.writableEnded,
          res.writableFinished,
          res.writable,
          res.finished,
          res.writableNeedDrain,
          res.destroyed,
          res.closed,
          res.socket === null,
          res.writableObjectMode,
          res.writableHighWaterMark > 0,
          res.sendDate,
        ].join()
      note(`res begun ${state()}`)
      res.setHeader('X', '1')
      note(`res set ${state()}`)
      res.flushHeaders()
      note(`res flushed ${state()}`)
      res.write('a')
      note(`res written ${state()}`)
      res.end('b', () => note(`res called ${state()}`))
      note(`res ended ${state()}`)
      res.on('close', () => note(`res close ${state()}`))
    },
  },
  {
    title: 'a head that is flushed long before its body',
    listener: (_req, res) => {
      res.writeHead(200, { 'X-A': 'b' })
      res.flushHeaders()
      setTimeout(() => res.end('later'), 20)
    },
  },
  {
    title: 'corked writes',
    listener: (_req, res) => {
      res.cork()
      res.write('a')
      res.write('b')
      process.nextTick(() => {
        res.uncork()
        res.end('c')
      })
    },
  },
  {
    title: 'early hints',
    listener: (_req, res, note) => {
      res.writeEarlyHints({ link: ['</a.css>; rel=preload; as=style', '</b.js>; rel=preload; as=script'] }, () =>
        note('hinted'),
      )
      res.end('x')
    },
  },
  {
    title: 'early hints with other fields, twice',
    listener: (_req, res) => {
      res.writeEarlyHints({ link: '</a.css>; rel=preload', 'x-trace': '1' })
      res.writeEarlyHints({ link: '</b.css>; rel=preload' })
      res.end('x')
    },
  },
  {
    title: 'trailers of a request, parsed and raw',
    request: { method: 'POST', headers: { Trailer: 'X-Sum', 'Transfer-Encoding': 'chunked' } },
    body: 'hello',
    trailers: { 'X-Sum': '42', 'X-Other': 'a' },
    listener: (req, res) => {
      req.resume()
      req.on('end', () => res.end(JSON.stringify([req.trailers, req.rawTrailers, req.trailersDistinct, req.complete])))
    },
  },
  {
    title: 'the raw lines of a request, without those about the connection',
    request: { headers: { 'X-Twice': ['1', '2'], 'x-lower': 'a', Cookie: ['a=1', 'b=2'] } },
    listener: (req, res) => {
      const skipped = new Set(['connection', 'x-case'])
      const lines = req.rawHeaders.flatMap((name, at) =>
        at % 2 === 0 && !skipped.has(name.toLowerCase()) ? [`${name}: ${req.rawHeaders[at + 1]}`] : [],
      )
      res.end(
        JSON.stringify([lines.sort(), req.headers['x-twice'], req.headers.cookie, req.headersDistinct['x-twice']]),
      )
    },
  },
  {
    title: 'the properties and calls of a socket',
    listener: (req, res) => {
      const { socket } = req
      socket.setNoDelay(true).setKeepAlive(true).ref()
      res.end(
        JSON.stringify([
          socket === res.socket,
          socket === req.connection,
          socket.remoteAddress,
          socket.remoteFamily,
          typeof socket.remotePort,
          typeof socket.localPort,
          Boolean((socket as { encrypted?: boolean }).encrypted),
          socket.destroyed,
          socket.writable,
          typeof socket.bytesRead,
          typeof socket.bytesWritten,
          socket.timeout ?? 0,
          socket.readyState,
          socket.connecting,
          socket.pending,
        ]),
      )
    },
  },
  {
    title: 'a timeout of a response with a listener',
    listener: (_req, res, note) => {
      res.setTimeout(20, () => {
        note('res timeout')
        res.statusCode = 503
        res.end('too late')
      })
      res.on('close', () => note('res close'))
    },
  },
  {
    title: 'a timeout of a request with a listener, which waits for the rest of its body',
    begins: 'some of it',
    request: { method: 'POST', headers: { 'Content-Length': 100 } },
    listener: (req, res, note) => {
      req.setTimeout(20, () => {
        note('req timeout')
        res.statusCode = 503
        res.end('too late')
      })
      res.on('close', () => note('res close'))
    },
  },
  {
    title: 'a 100 by writeContinue, and what is sent after it',
    expects: 'the body',
    request: { method: 'POST' },
    listener: (req, res, note) => {
      watch(req, res, note)
      res.writeContinue()
      req.pipe(res)
    },
  },
  {
    title: 'a request that expects a 100 and is refused',
    expects: 'the body',
    request: { method: 'POST' },
    listener: (_req, res) => void res.writeHead(417).end('no'),
  },
  {
    title: 'a client that disconnects in the middle of its upload',
    begins: 'some of it',
    leaves: true,
    last: 'req close',
    request: { method: 'POST', headers: { 'Content-Length': 100 } },
    listener: (req, res, note) => {
      watch(req, res, note)
      req.on('data', () => note('req data'))
    },
  },
  {
    title: 'a client that disconnects in the middle of a chunked upload that is iterated',
    begins: 'some of it',
    leaves: true,
    last: 'iterated',
    request: { method: 'POST' },
    listener: async (req, res, note) => {
      watch(req, res, note)
      try {
        for await (const _ of req) note('req data')
      } catch (error) {
        note(`iterated ${(error as NodeJS.ErrnoException).code}`)
      }
    },
  },
  {
    title: 'a timeout without a listener',
    last: 'req close',
    listener: (req, res, note) => {
      watch(req, res, note)
      res.writeHead(200, { 'Content-Length': 100 })
      res.write('begun')
      req.socket.setTimeout(20)
    },
  },
  {
    title: 'a request that is destroyed in the middle of its response',
    last: 'req close',
    listener: (req, res, note) => {
      watch(req, res, note)
      res.writeHead(200, { 'Content-Length': 100 })
      res.write('begun', () => setImmediate(() => req.destroy()))
    },
  },
  {
    title: 'a socket that is destroyed in the middle of a response',
    last: 'req close',
    listener: (req, res, note) => {
      watch(req, res, note)
      req.socket.on('close', (failed) => note(`socket close ${failed}`))
      res.writeHead(200)
      res.write('begun', () => setImmediate(() => req.socket.destroy()))
    },
  },
  {
    title: 'an error of a response that is destroyed with one',
    last: 'req close',
    listener: (req, res, note) => {
      watch(req, res, note)
      res.on('error', (error) => note(`res error ${error.message}`))
      res.writeHead(200)
      res.write('begun', () => setImmediate(() => res.destroy(new Error('mine'))))
    },
  },
  {
    title: 'a pipeline whose source fails',
    last: 'req close',
    listener: (req, res, note) => {
      watch(req, res, note)
      const source = Readable.from(
        (async function* () {
          yield 'begun'
          await new Promise(setImmediate)
          throw new Error('disk')
        })(),
      )
      pipeline(source, res, (error) => note(`pipeline ${error?.message}`))
    },
  },
  {
    title: 'an upload through a transform, both ways at once',
    request: { method: 'POST' },
    body: 'abc'.repeat(200_000),
    listener: (req, res, note) => {
      const upper = new Transform({
        transform: (chunk: Buffer, _encoding, callback) => callback(null, chunk.toString().toUpperCase()),
      })
      pipeline(req, upper, res, (error) => note(`pipeline ${error?.code}`))
    },
  },
  {
    title: 'backpressure by write() and drain',
    listener: (_req, res, note) => {
      const chunk = Buffer.alloc(64 * 1024, 'x')
      let left = 64
      let waited = 0
      const more = (): void => {
        while (left-- > 0) {
          if (res.write(chunk)) continue
          waited++
          res.once('drain', more)
          return
        }
        note(`waited ${waited > 0}`)
        res.end()
      }
      more()
    },
  },
  {
    title: 'a request that is read by for await, and by setEncoding',
    request: { method: 'POST' },
    body: 'hé'.repeat(50_000),
    listener: async (req, res) => {
      req.setEncoding('utf8')
      let text = ''
      for await (const chunk of req) text += chunk as string
      res.end(String(text.length))
    },
  },
  {
    title: 'a response before its request was read',
    request: { method: 'POST' },
    body: 'x'.repeat(10_000),
    listener: (req, res, note) => {
      res.on('finish', () => note(`res finish ${req.readableEnded}`))
      res.on('close', () => note('res close'))
      res.writeHead(413).end('too much')
    },
  },
  {
    title: 'an iteration of a request that stops early',
    request: { method: 'POST' },
    body: 'x'.repeat(10),
    listener: async (req, res) => {
      for await (const chunk of (req as Readable).iterator({ destroyOnReturn: false })) {
        res.end(String((chunk as Buffer).length))
        break
      }
    },
  },
  {
    title: 'stream.finished of both',
    request: { method: 'POST' },
    body: 'hello',
    listener: (req, res, note) => {
      finished(req, (error) => note(`req finished ${error?.code}`))
      finished(res, (error) => note(`res finished ${error?.code}`))
      res.on('close', () => note('res close'))
      req.resume().on('end', () => res.end('x'))
    },
  },
  {
    title: 'on-finished of both',
    request: { method: 'POST' },
    body: 'hello',
    listener: (req, res, note) => {
      onFinished(req, (error) => note(`req finished ${error?.message}`))
      onFinished(res, (error) => note(`res finished ${error?.message} ${onFinished.isFinished(res)}`))
      note(`begun ${onFinished.isFinished(req)} ${onFinished.isFinished(res)}`)
      res.on('close', () => note('res close'))
      req.resume().on('end', () => res.end('x'))
    },
  },
  {
    title: 'on-finished of a client that disconnects',
    abort: true,
    last: 'res finished',
    listener: (_req, res, note) => {
      onFinished(res, (error) => note(`res finished ${error?.message} ${onFinished.isFinished(res)}`))
      res.write('begun')
    },
  },
  {
    title: 'finalhandler if no handler answers',
    request: { path: '/a%3Cb%3E', method: 'POST' },
    body: 'unread',
    listener: (req, res) => finalhandler(req, res, { env: 'production' })(),
  },
  {
    title: 'finalhandler of an error',
    listener: (req, res) => {
      const error = Object.assign(new Error('no tea'), { status: 418, headers: { 'X-Why': 'pot' } })
      res.setHeader('X-Gone', '1')
      finalhandler(req, res, { env: 'production' })(error)
    },
  },
  {
    title: 'finalhandler of an error after the head',
    listener: (req, res) => {
      res.writeHead(200, { 'Content-Length': 100 })
      res.write('begun', () =>
        setImmediate(() => finalhandler(req, res, { env: 'production', onerror() {} })(new Error('late'))),
      )
    },
  },
  ...(
    [
      ['whole', 'GET', {}],
      ['HEAD', 'HEAD', {}],
      ['a range', 'GET', { Range: 'bytes=10-19' }],
      ['the end', 'GET', { Range: 'bytes=-5' }],
      ['an invalid range', 'GET', { Range: 'bytes=999999-' }],
      ['a file that the client has cached', 'GET', { 'If-Modified-Since': 'Fri, 01 Jan 2100 00:00:00 GMT' }],
      ['a precondition', 'GET', { 'If-Match': '"other"' }],
    ] as const
  ).map(
    ([what, method, headers]): Case => ({
      title: `res.sendFile: ${what}`,
      request: { path: '/file', method, headers },
      listener: (req, res) => sending(req, res),
    }),
  ),
  {
    title: 'res.download of a missing file',
    listener: (req, res) =>
      express()
        .set('env', 'test')
        .get('/', (_req, response, next) => response.download('/no/such/file', next))(req, res),
  },
]

compare('uses of a Node listener are as before node:http', cases)
