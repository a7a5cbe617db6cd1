import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import compression from 'compression'
import cookieParser from 'cookie-parser'
import express from 'express'
import WebSocketClient, { type WebSocket, WebSocketServer } from 'ws'
import { fromNode, type NodeListener } from '../../../interfaces/node/from-node.ts'
import { type ApplicationListener, toNode } from '../../../interfaces/node/to-node.ts'
import type { Application, Environ } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { silent } from '../../../protocol/log/logger.ts'

const TEXT: [string, string] = ['Content-Type', 'text/plain']

class Served implements AsyncDisposable {
  readonly server: Server
  readonly port: number

  private constructor(server: Server) {
    this.server = server
    this.port = (server.address() as AddressInfo).port
  }

  static async start(listener: NodeListener, upgrade?: ApplicationListener['upgrade']): Promise<Served> {
    const server = createServer(listener)
    if (upgrade) server.on('upgrade', upgrade)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new Served(server)
  }

  /** Sends `bytes`, and resolves with everything received until the connection is closed. */
  async raw(bytes: string): Promise<string> {
    const socket = connect(this.port, '127.0.0.1')
    socket.write(bytes)
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    socket.on('error', () => {})
    await once(socket, 'close')
    return text
  }

  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port}${path}`, init)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }
}

const checked = (application: Application): ApplicationListener => toNode(lint(application), { log: silent })

/** Responds with the result of `of` for the environ. */
const showing = (of: (environ: Environ) => unknown): Application => {
  return (environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'application/json']])
    return [Buffer.from(JSON.stringify(of(environ)))]
  }
}
const paths = showing((e) => [e.SCRIPT_NAME, e.PATH_INFO, e.QUERY_STRING, e.REQUEST_URI])

describe('toNode', () => {
  it('makes an environ of a request, and trusts no forwarded header', async () => {
    await using served = await Served.start(
      checked(
        showing((e) => [
          e.REQUEST_METHOD,
          e.PATH_INFO,
          e.QUERY_STRING,
          e['HTTP_X_TWICE'],
          e.REMOTE_ADDR,
          e.REQUEST_SCHEME,
        ]),
      ),
    )
    const text = await served.raw(
      'PUT /a%20b?c=%20 HTTP/1.1\r\nHost: x\r\nX-Twice: 1\r\nX-Twice: 2\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n',
    )
    assert.ok(text.endsWith('["PUT","/a b","c=%20","1, 2","127.0.0.1","http"]'), text)
  })

  for (const [target, script, path, query] of [
    ['/api/users?x=1', '/api', '/users', 'x=1'],
    ['/api', '/api', '', ''],
    ['/api?x=1', '/api', '', 'x=1'],
    ['/api/', '/api', '/', ''],
    ['/api/a%2Fb%20c', '/api', '/a/b c', ''],
  ] as const) {
    it(`splits ${target} into Express's mount and the rest`, async () => {
      const app = express().use('/api', checked(paths))
      await using served = await Served.start(app)
      const response = await served.fetch(target)
      assert.deepEqual(await response.json(), [script, path, query, target])
    })
  }

  it('keeps fields that were set before, adds cookies, and calls listeners of the head', async () => {
    const app = express()
    app.use(cookieParser(), compression({ threshold: 0 }), (_req, res, next) => {
      res.cookie('a', '1').set('Cache-Control', 'no-store').set('X-Kept', 'yes')
      next()
    })
    app.use(
      checked((_environ, startResponse) => {
        startResponse('200 OK', [TEXT, ['Set-Cookie', 'b=2'], ['Set-Cookie', 'c=3'], ['Cache-Control', 'private']])
        return [Buffer.from('hello '.repeat(100))]
      }),
    )
    await using served = await Served.start(app)
    const text = await served.raw('GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n')
    const [head = ''] = text.split('\r\n\r\n', 1)
    assert.match(head, /X-Kept: yes/)
    assert.match(head, /Cache-Control: private/)
    assert.match(head, /Content-Encoding: gzip/)
    assert.deepEqual(
      [...head.matchAll(/Set-Cookie: (\w=\d)/g)].map(([, cookie]) => cookie),
      ['a=1', 'b=2', 'c=3'],
    )
    const response = await served.fetch('/')
    assert.equal(await response.text(), 'hello '.repeat(100))
  })

  it('passes the body as it arrives, and answers 100-continue only when it is read, at checkContinue', async () => {
    const echo = checked(async (environ, startResponse) => {
      const parts: Uint8Array[] = []
      if (environ.PATH_INFO === '/read') for await (const part of environ['wsgi.input']) parts.push(part)
      startResponse('200 OK', [TEXT])
      return [Buffer.concat([Buffer.from('got '), ...parts])]
    })
    await using served = await Served.start(echo)
    served.server.on('checkContinue', echo)
    const head = 'Host: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n'
    assert.match(
      await served.raw(`POST /read HTTP/1.1\r\n${head}body`),
      /^HTTP\/1.1 100 .*\r\n\r\nHTTP\/1.1 200 [\s\S]*got body$/,
    )
    assert.match(await served.raw(`POST / HTTP/1.1\r\n${head}body`), /^HTTP\/1.1 200 [\s\S]*got $/)
  })

  it('reads no more of an upload than the application has room for', async () => {
    const go = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<IncomingMessage>()
    const listener = checked(async (environ, startResponse) => {
      await environ['wsgi.input'].read(1)
      await go.promise
      const rest = await environ['wsgi.input'].read()
      startResponse('200 OK', [TEXT])
      return [Buffer.from(String(rest.length + 1))]
    })
    await using served = await Served.start((req, res) => {
      listener(req, res)
      req.once('pause', () => begun.resolve(req))
    })
    const size = 32 * 1024 * 1024
    const answer = served.fetch('/', { method: 'POST', body: new Uint8Array(size) }).then((response) => response.text())
    const req = await begun.promise
    assert.ok(req.socket.bytesRead < 2 * 1024 * 1024, String(req.socket.bytesRead))
    go.resolve()
    assert.equal(await answer, String(size))
  })

  it('fails a read of a body that a parser has already read', async () => {
    const failed = Promise.withResolvers<Error>()
    const app = express().use(
      express.json(),
      checked(async (environ, startResponse) => {
        await environ['wsgi.input'].read().catch((error: Error) => failed.resolve(error))
        startResponse('200 OK', [TEXT])
        return []
      }),
    )
    await using served = await Served.start(app)
    await served.fetch('/', { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } })
    const error = (await failed.promise) as Error & { code?: string }
    assert.equal(error.code, 'BODY_READ')
    assert.match(error.message, /put toNode\(\)'s listener before body parsers/)
  })

  it('sends each chunk before requesting the next, and waits for room', async () => {
    const go = Promise.withResolvers<void>()
    let made = 0
    const chunk = Buffer.alloc(64 * 1024)
    await using served = await Served.start(
      checked((environ, startResponse) => {
        startResponse('200 OK', [TEXT])
        return (async function* () {
          yield Buffer.from('first')
          await go.promise
          if (environ.PATH_INFO === '/long') for (; made < 1000; made++) yield chunk
        })()
      }),
    )
    const reader = (await served.fetch('/')).body!.getReader()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'first')
    go.resolve()
    assert.equal((await reader.read()).done, true)
    const client = request({ port: served.port, host: '127.0.0.1', path: '/long' }).end()
    const [response] = (await once(client, 'response')) as [IncomingMessage]
    await once(response, 'readable')
    // Waits until it has not changed for many event-loop iterations.
    for (let turns = 0, last = -1; turns < 200; turns++) {
      if (made !== last) turns = 0
      last = made
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.ok(made < 400, `${made} chunks were made for who reads none`)
    client.destroy()
  })

  it('aborts the application when the client disconnects, and closes its body', async () => {
    const aborted = Promise.withResolvers<unknown>()
    const closed = Promise.withResolvers<void>()
    await using served = await Served.start(
      checked((environ, startResponse) => {
        startResponse('200 OK', [TEXT])
        environ.gantry.signal.addEventListener('abort', () => aborted.resolve(environ.gantry.signal.reason))
        let given = false
        return {
          [Symbol.asyncIterator]: () => ({
            next: async () => {
              if (given) await aborted.promise
              given = true
              return { done: false, value: Buffer.from('x') }
            },
          }),
          close: () => closed.resolve(),
        }
      }),
    )
    const client = request({ port: served.port, host: '127.0.0.1' }).end()
    await once(client, 'response')
    client.destroy()
    assert.equal(((await aborted.promise) as { code: string }).code, 'CLIENT_GONE')
    await closed.promise
  })

  it('truncates the response if the application fails in the middle, and answers 500 if it fails before', async () => {
    await using served = await Served.start(
      checked((environ, startResponse) => {
        if (environ.PATH_INFO === '/before') throw new Error('secret')
        startResponse('200 OK', [TEXT])
        return (async function* () {
          yield Buffer.from('first')
          throw new Error('secret')
        })()
      }),
    )
    const text = await served.raw('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    assert.match(text, /first\r\n$/)
    const page = await served.raw('GET /before HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    assert.match(page, /^HTTP\/1.1 500 /)
    assert.doesNotMatch(page, /secret/)
  })

  it('sends each chunk at once, even if other code has corked the response', async () => {
    const read = Promise.withResolvers<void>()
    const listener = checked((_environ, startResponse) => {
      startResponse('200 OK', [TEXT])
      return (async function* () {
        yield Buffer.from('first')
        await read.promise
        yield Buffer.from('second')
      })()
    })
    await using served = await Served.start((req, res) => {
      res.cork()
      listener(req, res)
      res.once('finish', () => res.uncork())
    })
    const client = request({ port: served.port, host: '127.0.0.1', timeout: 5_000 }).end()
    client.once('timeout', () => client.destroy(new Error('nothing came')))
    const [response] = (await once(client, 'response')) as [IncomingMessage]
    const chunks: string[] = []
    for await (const chunk of response) {
      chunks.push(String(chunk))
      read.resolve()
    }
    assert.deepEqual(chunks, ['first', 'second'])
  })

  for (const [status, method, length] of [
    ['200 OK', 'HEAD', '11'],
    ['204 No Content', 'GET', undefined],
    ['304 Not Modified', 'GET', '11'],
    ['205 Reset Content', 'GET', '0'],
  ] as const) {
    it(`sends no body with ${status} to ${method}`, async () => {
      await using served = await Served.start(
        checked((_environ, startResponse) => {
          startResponse(status, length === '11' ? [...(method === 'HEAD' ? [TEXT] : []), ['Content-Length', '11']] : [])
          return status.startsWith('200') ? [Buffer.from('hello world')] : []
        }),
      )
      const text = await served.raw(`${method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
      assert.ok(text.startsWith(`HTTP/1.1 ${status}\r\n`), text)
      assert.ok(text.endsWith('\r\n\r\n'), text)
      assert.equal(/content-length: (\d+)/i.exec(text)?.[1], length)
    })
  }

  it('sends early hints, and trailers', async () => {
    await using served = await Served.start(
      checked((environ, startResponse) => {
        environ.gantry.earlyHints([['Link', '</a.css>; rel=preload; as=style']])
        startResponse('200 OK', [TEXT])
        environ.gantry.trailers(() => [['X-Sum', '42']])
        return (async function* () {
          yield Buffer.from('body')
        })()
      }),
    )
    const text = await served.raw('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1.1 103 Early Hints\r\nLink: <\/a.css>; rel=preload; as=style\r\n\r\nHTTP\/1.1 200 OK/)
    assert.match(text, /4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n$/)
  })

  it('answers 400 to a path with an invalid escape', async () => {
    await using served = await Served.start(checked(paths))
    assert.equal((await served.fetch('/%zz')).status, 400)
  })

  it('hands over a connection at a server’s upgrade, and sends any other response', async () => {
    const application: Application = (environ, startResponse) => {
      if (environ['HTTP_UPGRADE'] === undefined || environ.PATH_INFO === '/no') {
        startResponse('403 Forbidden', [TEXT])
        return [Buffer.from('no')]
      }
      startResponse('101 Switching Protocols', [
        ['Upgrade', 'echo'],
        ['Connection', 'Upgrade'],
      ])
      const peer: Duplex = environ.gantry.upgrade()
      peer.on('error', () => {})
      peer.pipe(peer)
      return []
    }
    const listener = checked(application)
    await using served = await Served.start(listener, listener.upgrade)
    const head = (path: string): string =>
      `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`
    const refused = await served.raw(head('/no'))
    assert.match(refused, /^HTTP\/1.1 403 Forbidden\r\n[\s\S]*Connection: close[\s\S]*\r\n\r\nno$/)
    const socket = connect(served.port, '127.0.0.1')
    socket.end(`${head('/')}ping`)
    let text = ''
    for await (const chunk of socket) text += chunk
    assert.match(text, /^HTTP\/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nping$/i)
    // Without a listener for upgrades it is an ordinary request.
    await using plain = await Served.start(listener)
    assert.match(await plain.raw(head('/').replace('Upgrade\r\nUpgrade', 'close\r\nUpgrade')), /^HTTP\/1.1 403 /)
  })

  it('refuses a value that is not an application', () => {
    assert.throws(() => toNode({} as unknown as Application), /toNode: expected an application, .* got/)
  })
})

describe('there and back', () => {
  it('fromNode(toNode(application)) behaves like the application', async () => {
    const application: Application = async (environ, startResponse) => {
      const body = await environ['wsgi.input'].read()
      startResponse('201 Created', [TEXT, ['X-A', '1'], ['X-A', '2']])
      return (async function* () {
        yield Buffer.from(`${environ.REQUEST_METHOD} ${environ.PATH_INFO} `)
        yield body
      })()
    }
    const request = { method: 'POST', path: '/a%20b?c', body: 'hello', headers: { 'X-B': 'c' } }
    const plain = await call(lint(application), request)
    const twice = await call(lint(fromNode(toNode(lint(application)))), request)
    assert.equal(twice.status, plain.status)
    assert.deepEqual(twice.headers, plain.headers)
    assert.equal(twice.text, plain.text)
  })

  it('toNode(fromNode(listener)) behaves like the listener, including WebSockets', async () => {
    const sockets = new WebSocketServer({ noServer: true })
    const listener: NodeListener = (req, res) => {
      res.setHeader('X-Url', req.url ?? '')
      req.pipe(res)
    }
    const application = fromNode(listener, {
      onUpgrade: (req, socket, head) => {
        sockets.handleUpgrade(req, socket, head, (socket: WebSocket) => {
          socket.on('message', (data) => socket.send(`echo ${data}`))
        })
      },
    })
    const twice = toNode(application)
    await using served = await Served.start(twice, twice.upgrade)
    await using plain = await Served.start(listener)
    const answers = await Promise.all(
      [served, plain].map(async (one) => {
        const response = await one.fetch('/x?y', { method: 'POST', body: 'hello' })
        return [response.status, response.headers.get('x-url'), await response.text()]
      }),
    )
    assert.deepEqual(answers[0], answers[1])
    const client = new WebSocketClient(`ws://127.0.0.1:${served.port}/`)
    await once(client, 'open')
    client.send('1')
    assert.equal(String((await once(client, 'message'))[0]), 'echo 1')
    client.terminate()
  })
})
