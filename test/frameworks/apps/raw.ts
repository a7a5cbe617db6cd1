/**
 * Listeners that use node's request and response without a framework, as plugins do: every framework on node:http
 * routes /raw/ to them.
 */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { pipeline } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import busboy from 'busboy'
import { big, chunks, failing, files, note, pause, stream, withoutAdded } from './shared.ts'

type Listener = (req: IncomingMessage, res: ServerResponse, query: URLSearchParams) => void

function json(res: ServerResponse, value: unknown): void {
  res.setHeader('Content-Type', 'application/json')
  res.end(JSON.stringify(value))
}

const listeners: Record<string, Listener> = {
  'early-hints': (_req, res) => {
    res.writeEarlyHints({ link: ['</a.css>; rel=preload; as=style', '</b.js>; rel=preload; as=script'] })
    res.end('hinted')
  },
  'two-hints': (_req, res) => {
    res.writeEarlyHints({ link: '</a.css>; rel=preload; as=style' })
    res.writeEarlyHints({ link: '</b.css>; rel=preload; as=style' })
    res.end('hinted twice')
  },
  trailers: (_req, res) => {
    res.writeHead(200, { Trailer: 'X-Sum, X-Other' })
    res.write('body')
    res.addTrailers({ 'X-Sum': '123', 'X-Other': 'b' })
    res.end()
  },
  'request-trailers': (req, res) => {
    req.resume()
    req.on('end', () => json(res, { trailers: req.trailers, raw: req.rawTrailers, distinct: req.trailersDistinct }))
  },
  headers: (req, res) => {
    json(res, { headers: withoutAdded(req.headers), distinct: withoutAdded(req.headersDistinct) })
  },
  names: (req, res) => {
    const names = req.rawHeaders.filter((_, at) => at % 2 === 0)
    json(res, Object.keys(withoutAdded(Object.fromEntries(names.map((name) => [name, ''])))))
  },
  facts: (req, res) => {
    const { method, url, httpVersion, httpVersionMajor, httpVersionMinor, complete, aborted, destroyed } = req
    const { remoteAddress, remotePort, remoteFamily, destroyed: gone } = req.socket
    json(res, {
      ...{ method, url, httpVersion, httpVersionMajor, httpVersionMinor, complete, aborted, destroyed, gone },
      ...{
        remoteAddress,
        remoteFamily,
        port: typeof remotePort,
        encrypted: (req.socket as TLSSocket).encrypted === true,
      },
      same: [req.socket === req.connection, res.socket === req.socket, res.req === req],
      response: [res.sendDate, res.shouldKeepAlive, res.headersSent, res.writableEnded, res.statusCode],
    })
  },
  flush: (_req, res) => {
    res.setHeader('X-Early', '1')
    res.flushHeaders()
    setTimeout(() => res.end('late'), 10)
  },
  'raw-head': (_req, res) => {
    res.writeHead(200, ['Content-Type', 'text/plain', 'X-A', '1', 'X-A', '2', 'x-b', '3'])
    res.end('raw')
  },
  'head-object': (_req, res) => {
    res.setHeader('X-Kept', 'yes')
    res.writeHead(201, 'Made Here', { 'X-List': ['a', 'b'], 'Content-Type': 'text/css' }).end('made')
  },
  'append-header': (_req, res) => {
    res.setHeader('Vary', 'A')
    res.appendHeader('Vary', 'B')
    res.appendHeader('Set-Cookie', ['a=1', 'b=2'])
    res.setHeaders(new Headers({ 'X-From': 'Headers' }))
    res.removeHeader('x-nothing')
    json(res, {
      names: res.getHeaderNames(),
      all: res.getHeaders(),
      vary: res.getHeader('vary'),
      has: res.hasHeader('VARY'),
    })
  },
  hop: (_req, res) => {
    res.setHeader('Connection', 'close, X-Hop')
    res.setHeader('X-Plain', '1')
    res.end('hop')
  },
  destroy: (_req, res) => void res.destroy(),
  'socket-destroy': (req) => void req.socket.destroy(),
  cut: (_req, res) => {
    res.write('part', () => setTimeout(() => res.destroy(new Error('cut')), 20))
  },
  'cut-length': (_req, res) => {
    res.writeHead(200, { 'Content-Length': 100 })
    res.write('part', () => setTimeout(() => res.socket?.destroy(), 20))
  },
  short: (_req, res) => {
    res.writeHead(200, { 'Content-Length': 10 })
    res.write('short', () => setTimeout(() => res.end(), 20))
  },
  long: (_req, res) => {
    res.writeHead(200, { 'Content-Length': 3 })
    res.end('long enough')
  },
  strict: (_req, res) => {
    res.strictContentLength = true
    res.setHeader('Content-Length', 3)
    try {
      res.write('long enough')
    } catch (error) {
      res.end((error as NodeJS.ErrnoException).code?.slice(4, 7))
    }
  },
  hang: (req, res, query) => {
    const key = query.get('key') ?? ''
    req.on('aborted', () => note(key, 'req aborted'))
    req.on('error', (error: NodeJS.ErrnoException) => note(key, `req error ${error.code}`))
    res.on('finish', () => note(key, 'res finish'))
    res.on('close', () => note(key, `res close ${res.writableEnded} ${res.destroyed} ${req.aborted}`))
    note(key, 'begun')
  },
  'hang-after-part': (req, res, query) => {
    listeners['hang']!(req, res, query)
    res.write('part')
  },
  'socket-close': (req, _res, query) => {
    const key = query.get('key') ?? ''
    req.socket.once('close', () => note(key, 'socket close'))
    note(key, 'begun')
  },
  'write-after-gone': (_req, res, query) => {
    const key = query.get('key') ?? ''
    res.on('error', (error: NodeJS.ErrnoException) => note(key, `res error ${error.code}`))
    res.on('close', () => {
      const accepted = res.write('more')
      note(key, `write ${accepted} ${res.destroyed} ${res.writable}`)
    })
    note(key, 'begun')
  },
  lifecycle: (req, res, query) => {
    const key = query.get('key') ?? ''
    req.on('end', () => note(key, 'req end'))
    req.on('close', () => note(key, 'req close'))
    res.on('prefinish', () => note(key, 'res prefinish'))
    res.on('finish', () => note(key, `res finish ${res.headersSent} ${res.writableFinished}`))
    res.on('close', () => note(key, `res close ${res.destroyed}`))
    req.resume()
    req.on('end', () => res.end('done', () => note(key, 'end callback')))
  },
  timeout: (_req, res) => {
    res.setTimeout(20, () => {
      res.statusCode = 503
      res.end('timed out')
    })
  },
  'silent-timeout': (req, res) => {
    res.setTimeout(20)
    req.on('error', () => {})
  },
  'request-timeout': (req, res) => {
    req.setTimeout(20, () => {
      res.writeHead(408, { Connection: 'close' })
      res.end('too slow')
    })
    req.resume()
  },
  'socket-timeout': (req, res) => {
    req.socket.setTimeout(20)
    req.socket.once('timeout', () => res.writeHead(504).end('socket timed out'))
  },
  'no-timeout': (_req, res) => {
    res.setTimeout(20, () => res.destroy())
    res.setTimeout(0)
    setTimeout(() => res.end('in time'), 50)
  },
  upload: (req, res, query) => {
    const key = query.get('key') ?? ''
    const hash = createHash('sha256')
    let length = 0
    req.on('data', (chunk: Buffer) => {
      hash.update(chunk)
      length += chunk.length
      if (length === chunk.length) note(key, 'data')
    })
    req.on('aborted', () => note(key, 'aborted'))
    req.on('error', (error: NodeJS.ErrnoException) => note(key, `error ${error.code}`))
    req.on('close', () => note(key, `close ${req.complete}`))
    req.on('end', () => json(res, { length, digest: hash.digest('hex') }))
  },
  'unread-upload': (_req, res) => {
    res.writeHead(403)
    res.end('not wanted')
  },
  'slow-read': (req, res) => {
    let length = 0
    const read = async (): Promise<void> => {
      for await (const chunk of req as AsyncIterable<Buffer>) {
        length += chunk.length
        await pause(1)
      }
      json(res, { length })
    }
    void read()
  },
  echo: (req, res) => {
    res.writeHead(200, { 'Content-Type': req.headers['content-type'] ?? 'application/octet-stream' })
    req.pipe(res)
  },
  big: (_req, res) => void pipeline(stream(big()), res, () => {}),
  drain: (_req, res) => {
    let at = 0
    const more = (): void => {
      while (at < 64) {
        if (!res.write(Buffer.alloc(32 * 1024, at++))) return void res.once('drain', more)
      }
      res.end()
    }
    more()
  },
  pipe: (_req, res) => void createReadStream(join(files, 'big.bin')).pipe(res),
  pipeline: (_req, res) => void pipeline(stream(chunks()), res, () => {}),
  'pipeline-error': (_req, res) => void pipeline(stream(failing()), res, () => {}),
  'many-writes': (_req, res) => {
    for (let at = 0; at < 500; at++) res.write(`${at},`)
    res.end()
  },
  encodings: (_req, res) => {
    res.setHeader('Content-Type', 'text/plain')
    res.write('é', 'latin1')
    res.write('c3a9', 'hex')
    res.write('w6k=', 'base64')
    res.end('é', 'utf8')
  },
  corked: (_req, res) => {
    res.cork()
    res.write('a')
    res.write('b')
    res.uncork()
    res.end('c')
  },
  'status-message': (_req, res) => {
    res.statusCode = 299
    res.statusMessage = 'Quite Fine'
    res.end()
  },
  'body-of-204': (_req, res) => void res.writeHead(204).end('no body here'),
  'body-of-304': (_req, res) => void res.writeHead(304, { ETag: '"x"' }).end('nor here'),
  latin1: (_req, res) => {
    res.setHeader('X-Latin', 'caf\xe9')
    res.end()
  },
  'bad-header': (_req, res) => {
    try {
      res.setHeader('X-Bad', 'a\r\nX-Injected: 1')
    } catch (error) {
      res.end((error as NodeJS.ErrnoException).code)
    }
  },
  'late-header': (_req, res) => {
    res.write('sent')
    try {
      res.setHeader('X-Late', '1')
    } catch (error) {
      res.end((error as NodeJS.ErrnoException).code)
    }
  },
  'write-after-end': (_req, res) => {
    res.on('error', () => {})
    res.end('whole')
    res.write('more', () => {})
  },
  'end-twice': (_req, res) => {
    res.on('error', () => {})
    res.end('once').end('twice')
  },
  'no-content-type': (_req, res) => void res.end(Buffer.from([0, 255, 10])),
  'no-date': (_req, res) => {
    res.sendDate = false
    res.end('dateless')
  },
  busboy: (req, res) => {
    const found: unknown[] = []
    const parser = busboy({ headers: req.headers, limits: { fileSize: 100_000 } })
    parser.on('field', (name, value) => void found.push([name, value]))
    parser.on('file', (name, file, { filename, mimeType }) => {
      const hash = createHash('sha256')
      let length = 0
      file.on('data', (chunk: Buffer) => {
        hash.update(chunk)
        length += chunk.length
      })
      file.on('error', () => {})
      file.on('close', () => found.push([name, filename, mimeType, length, hash.digest('hex'), file.truncated]))
    })
    parser.on('close', () => {
      if (!res.headersSent) json(res, found)
    })
    parser.on('error', (error) => {
      req.unpipe(parser)
      req.resume()
      res.writeHead(400).end((error as Error).message)
    })
    req.pipe(parser)
  },
}

/** Responds to a request below /raw/. */
export function raw(req: IncomingMessage, res: ServerResponse): void {
  const { pathname, searchParams } = new URL(req.url ?? '/', 'http://x')
  const listener = listeners[pathname.slice('/raw/'.length)]
  if (listener) listener(req, res, searchParams)
  else res.writeHead(404).end(`no listener ${pathname}`)
}
