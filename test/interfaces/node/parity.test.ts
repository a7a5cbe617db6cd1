/** What node:http documents about requests and responses, on both servers; see `test/support/parity.ts`. */

import type { ServerResponse } from 'node:http'
import { pipeline, Readable } from 'node:stream'
import { type Case, compare, watch } from '../../support/parity.ts'

const cases: Case[] = [
  {
    title: 'an implicit head and end',
    listener: (_req, res) => void res.end('hello'),
  },
  {
    title: 'writeHead and end',
    listener: (_req, res) => void res.writeHead(201, 'Made', { 'X-A': 1, 'X-B': ['1', '2'] }).end('hello'),
  },
  {
    title: 'setHeader, appendHeader, removeHeader and writeHead together',
    listener: (_req, res) => {
      res.setHeader('X-A', 'a')
      res.appendHeader('X-A', 'b')
      res.setHeader('X-Gone', '1')
      res.removeHeader('x-gone')
      res.setHeaders(new Map([['x-map', '1']]))
      res.writeHead(200, { 'X-Late': 'yes' })
      res.end('x')
    },
  },
  {
    title: 'several writes',
    listener: (_req, res) => {
      res.write('a')
      res.write(Buffer.from('b'))
      res.write('63', 'hex')
      res.end('d')
    },
  },
  {
    title: 'a removed Content-Length',
    listener: (_req, res) => {
      res.removeHeader('content-length')
      res.end('hello')
    },
  },
  {
    title: 'HEAD with an implicit head',
    request: { method: 'HEAD' },
    listener: (_req, res) => void res.end('hello'),
  },
  {
    title: 'HEAD with a length',
    request: { method: 'HEAD' },
    listener: (_req, res) => {
      res.setHeader('Content-Length', 5)
      res.write('hello')
      res.end()
    },
  },
  { title: '204 with a body', listener: (_req, res) => void res.writeHead(204).end('no') },
  { title: '304 with fields', listener: (_req, res) => void res.writeHead(304, { ETag: '"x"' }).end('no') },
  {
    title: 'an empty body of unknown length',
    listener: (_req, res) => {
      res.flushHeaders()
      res.end()
    },
  },
  {
    title: 'trailers',
    listener: (_req, res) => {
      res.writeHead(200, { Trailer: 'X-Sum' })
      res.write('a')
      res.addTrailers({ 'X-Sum': '1' })
      res.end()
    },
  },
  {
    title: 'cookies and latin1 values',
    listener: (_req, res) => {
      res.setHeader('Set-Cookie', ['a=1', 'b=2'])
      res.setHeader('X-Latin', 'caf\xe9')
      res.end()
    },
  },
  {
    title: 'the properties of a request',
    request: {
      method: 'PUT',
      path: '/a%20b?c=d&e',
      headers: { 'X-A': ['1', '2'], Cookie: 'a=1', 'Content-Type': 'text/x' },
    },
    body: 'hello',
    listener: (req, res) => {
      const { method, url, httpVersion, httpVersionMajor, headers, headersDistinct } = req
      const { connection: _c, ...rest } = headers
      const { connection: _d, ...distinct } = headersDistinct
      delete rest.host
      delete distinct['host']
      const address = [typeof req.socket.remotePort, req.socket.remoteAddress, req.socket.writable, req.socket.readable]
      res.end(JSON.stringify([method, url, httpVersion, httpVersionMajor, rest, distinct, address, req.complete]))
    },
  },
  {
    title: 'the order of events when a body is echoed',
    request: { method: 'POST' },
    body: 'x'.repeat(100_000),
    listener: (req, res, note) => {
      watch(req, res, note)
      req.pipe(res)
    },
  },
  {
    title: 'the order of events when a request has no body and is not read',
    listener: (req, res, note) => {
      watch(req, res, note)
      res.write('a', () => note('written'))
      res.end('b', () => note('ended'))
    },
  },
  {
    title: 'errors of late calls',
    listener: (_req, res, note) => {
      res.on('error', (error: NodeJS.ErrnoException) => note(`error ${error.code}`))
      res.end('x')
      for (const [name, call] of [
        ['setHeader', () => res.setHeader('a', 'b')],
        ['writeHead', () => res.writeHead(200)],
        ['removeHeader', () => res.removeHeader('a')],
        ['writeEarlyHints', () => res.writeInformation(103, { Link: '<a>' })],
      ] as const) {
        try {
          call()
          note(name)
        } catch (error) {
          note(`${name} ${(error as NodeJS.ErrnoException).code}`)
        }
      }
      res.write('late', (error) => note(`write ${(error as NodeJS.ErrnoException | undefined)?.code}`))
      res.on('close', () => note('res close'))
    },
  },
  {
    title: 'errors of invalid heads and chunks',
    listener: (_req, res, note) => {
      for (const call of [
        () => res.setHeader('bad name', 'x'),
        () => res.setHeader('X', 'a\nb'),
        () => res.writeHead(99),
        () => res.writeHead(200, { 'bad name': 'x' }),
        () => res.writeHead(200, ['odd']),
        () => res.write(null as never),
        () => res.write(5 as never),
      ]) {
        try {
          call()
          note('nothing')
        } catch (error) {
          note(String((error as NodeJS.ErrnoException).code))
        }
      }
      res.on('close', () => note('res close'))
      res.statusCode = 200
      res.end('fine')
    },
  },
  {
    title: 'strictContentLength',
    listener: (_req, res, note) => {
      res.strictContentLength = true
      res.writeHead(200, { 'Content-Length': 3 })
      try {
        res.write('four')
      } catch (error) {
        note(String((error as NodeJS.ErrnoException).code))
      }
      res.on('close', () => note('res close'))
      res.end('abc')
    },
  },
  {
    title: 'a pipeline into the response',
    listener: (req, res, note) => {
      watch(req, res, note)
      pipeline(Readable.from(['a', 'b', 'c']), res, (error) => note(`pipeline ${error?.code}`))
    },
  },
  {
    title: 'a client that disconnects during a response',
    abort: true,
    last: 'req close',
    listener: (req, res, note) => {
      watch(req, res, note)
      res.writeHead(200)
      res.write('begun')
    },
  },
  {
    title: 'a response that is destroyed in the middle',
    last: 'req close',
    listener: (req, res, note) => {
      watch(req, res, note)
      res.writeHead(200, { 'Content-Length': 100 })
      res.write('begun', () => setImmediate(() => res.destroy()))
    },
  },
  {
    title: 'a prototype method that middleware wraps',
    listener: (_req, res) => {
      const { end, writeHead } = res
      res.writeHead = function wrapped(this: ServerResponse, ...args: never[]) {
        this.setHeader('X-Wrapped', 'yes')
        return (writeHead as (...args: unknown[]) => ServerResponse).apply(this, args)
      } as typeof res.writeHead
      res.end = function wrapped(this: ServerResponse, chunk: string) {
        return (end as (...args: unknown[]) => ServerResponse).call(this, chunk.toUpperCase())
      } as typeof res.end
      res.end('hello')
    },
  },
]

compare('a Node listener sees and gives, here and before node:http', cases)
