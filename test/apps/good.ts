/** Applications that keep the contract, with one feature each. */

import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { type Journal, whenAborted } from './journal.ts'
import { type Apps, bytes, json, key, number, octets, pattern, plain, query } from './tools.ts'

export function goodApps(journal: Journal): Apps {
  return {
    hello: (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return [bytes('Hello world!\n')]
    },

    /** Echoes the body as one chunk. */
    echo: async (environ, startResponse) => {
      const body = await environ['wsgi.input'].read()
      startResponse('200 OK', [['Content-Type', environ.CONTENT_TYPE ?? 'application/octet-stream']])
      return [body]
    },

    /** Echoes the body chunk by chunk, as it arrives. */
    'echo-stream': async function* (environ, startResponse) {
      startResponse('200 OK', [...octets])
      for await (const chunk of environ['wsgi.input']) yield chunk
    },

    /** `?size=N`: a dot for every N received bytes, as they arrive. */
    acknowledge: async function* (environ, startResponse) {
      startResponse('200 OK', [...plain])
      const size = number(environ, 'size', 1024)
      while ((await environ['wsgi.input'].read(size)).length === size) yield bytes('.')
    },

    /** The number of received bytes, and their digest. */
    digest: async (environ, startResponse) => {
      const hash = createHash('sha256')
      let length = 0
      for await (const chunk of environ['wsgi.input']) {
        hash.update(chunk)
        length += chunk.length
      }
      startResponse('200 OK', [...json])
      return [bytes(JSON.stringify({ length, sha256: hash.digest('hex') }))]
    },

    /** The sizes that each way of reading returns: `?ways=read:3,readline,read1:2,readlines,read`. */
    reads: async (environ, startResponse) => {
      const input = environ['wsgi.input']
      const answers: unknown[] = []
      for (const way of (query(environ).get('ways') ?? '').split(',')) {
        const [name, size] = way.split(':') as ['read' | 'read1' | 'readline' | 'readlines', string?]
        const got = await (size === undefined ? input[name]() : input[name](Number(size)))
        answers.push(Array.isArray(got) ? got.map((line) => Buffer.from(line).toString()) : Buffer.from(got).toString())
      }
      startResponse('200 OK', [...json])
      return [bytes(JSON.stringify(answers))]
    },

    /** All strings and booleans of the environ, and the header lines and the id of the request. */
    environ: (environ, startResponse) => {
      const variables: Record<string, unknown> = {}
      for (const [name, value] of Object.entries(environ)) {
        if (typeof value === 'string' || typeof value === 'boolean') variables[name] = value
      }
      startResponse('200 OK', [...json])
      const { rawHeaders, requestId } = environ.gantry
      return [bytes(JSON.stringify({ variables, rawHeaders, requestId }))]
    },

    /** `?n=3&size=5`: an async generator of n chunks of the pattern. */
    chunks: async function* (environ, startResponse) {
      startResponse('200 OK', [...octets])
      const size = number(environ, 'size', 5)
      for (let at = 0; at < number(environ, 'n', 3); at++) {
        yield pattern(at * size, size)
        await null
      }
    },

    /** `?bytes=N`: the pattern, from a synchronous generator; `&length` declares it. */
    big: function* (environ, startResponse) {
      const total = number(environ, 'bytes', 1024 * 1024)
      startResponse(
        '200 OK',
        query(environ).has('length') ? [...octets, ['Content-Length', String(total)]] : [...octets],
      )
      for (let at = 0; at < total; at += 65_536) yield pattern(at, Math.min(65_536, total - at))
    },

    /** The same with write(). */
    'big-write': async (environ, startResponse) => {
      const total = number(environ, 'bytes', 1024 * 1024)
      const write = startResponse('200 OK', [...octets])
      for (let at = 0; at < total; at += 65_536) await write(pattern(at, Math.min(65_536, total - at)))
      return []
    },

    /** The same as an array of one chunk. */
    'big-array': (environ, startResponse) => {
      startResponse('200 OK', [...octets])
      return [pattern(0, number(environ, 'bytes', 1024 * 1024))]
    },

    /** `?status=404+Not+Found&header=X-A:b&header=…`: the requested head, and the body `body`. */
    respond: (environ, startResponse) => {
      const asked = query(environ)
      startResponse(
        asked.get('status') ?? '200 OK',
        asked.getAll('header').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
      )
      const body = asked.get('body')
      return body === null ? [] : [bytes(body)]
    },

    /** `?key=k&n=3`: chunk0, chunk1, …; each but the first waits for gate k. */
    gated: async function* (environ, startResponse) {
      startResponse('200 OK', [...plain])
      try {
        for (let at = 0; at < number(environ, 'n', 3); at++) {
          if (at > 0) await journal.held(key(environ), environ.gantry.signal)
          yield bytes(`chunk${at};`)
        }
      } finally {
        journal.record(key(environ), 'finally')
      }
    },

    /** As `gated`, with write(). */
    'gated-write': async (environ, startResponse) => {
      const write = startResponse('200 OK', [...plain])
      await write(bytes(''))
      for (let at = 0; at < number(environ, 'n', 3); at++) {
        await journal.held(key(environ), environ.gantry.signal)
        await write(bytes(`chunk${at};`))
      }
      return []
    },

    /** Sends its head when the gate is released. */
    'gated-head': async (environ, startResponse) => {
      journal.record(key(environ), 'running')
      await journal.held(key(environ), environ.gantry.signal)
      startResponse('200 OK', [...plain])
      return [bytes('released')]
    },

    /** Waits for the gate before its first read, and reads 64 KiB for each release; then reads the rest. */
    'gated-read': async (environ, startResponse) => {
      journal.record(key(environ), 'running')
      let length = 0
      for (let at = 0; at < number(environ, 'n', 1); at++) {
        await journal.held(key(environ), environ.gantry.signal)
        length += (await environ['wsgi.input'].read(65_536)).length
        journal.record(key(environ), `read ${length}`)
      }
      for await (const chunk of environ['wsgi.input']) length += chunk.length
      startResponse('200 OK', [...plain])
      return [bytes(String(length))]
    },

    /** Releases one waiting step of gate `key`. */
    release: (environ, startResponse) => {
      for (let at = 0; at < number(environ, 'n', 1); at++) journal.release(key(environ))
      startResponse('204 No Content', [])
      return []
    },

    /** `?key=k&count=2`: the events of k, when there are `count` of them. */
    events: async (environ, startResponse) => {
      const events = await journal.events(key(environ), number(environ, 'count', 1), environ.gantry.signal)
      startResponse('200 OK', [...json])
      return [bytes(JSON.stringify(events))]
    },

    /**
     * Waits, before or after (`?first`) its first chunk, until its client has disconnected, and records how it was
     * notified.
     */
    wait: (environ, startResponse) => {
      const name = key(environ)
      const { signal } = environ.gantry
      return {
        async *[Symbol.asyncIterator]() {
          startResponse('200 OK', [...plain])
          try {
            journal.record(name, 'running')
            if (query(environ).has('first')) yield bytes('first;')
            journal.record(name, `abort ${await whenAborted(signal)}`)
          } finally {
            journal.record(name, 'finally')
          }
        },
        close: () => journal.record(name, 'close'),
      }
    },

    /** Sends without end, and records when it was aborted. */
    endless: (environ, startResponse) => {
      startResponse('200 OK', [...octets])
      let at = 0
      return {
        [Symbol.asyncIterator]: () => ({
          next: async () => ({ done: false, value: pattern((at += 65_536), 65_536) }),
          return: async () => {
            journal.record(key(environ), 'return')
            return { done: true, value: undefined }
          },
        }),
        close: () => journal.record(key(environ), 'close'),
      }
    },

    /** `?n=3`: three chunks, and trailers that depend on them. */
    trailers: (environ, startResponse) => {
      let sum = 0
      environ.gantry.trailers(async () => [
        ['X-Sum', String(sum)],
        ['X-Last', 'yes'],
      ])
      startResponse('200 OK', [...plain])
      return (function* () {
        for (let at = 0; at < number(environ, 'n', 3); at++) {
          sum += at
          yield bytes(`${at}`)
        }
      })()
    },

    /** The trailers of the request, after its body was read. */
    'request-trailers': async (environ, startResponse) => {
      const body = Buffer.from(await environ['wsgi.input'].read()).toString()
      const trailers = await environ['wsgi.input'].trailers
      startResponse('200 OK', [...json])
      return [bytes(JSON.stringify({ body, trailers }))]
    },

    hints: async (environ, startResponse) => {
      environ.gantry.earlyHints([['Link', '</style.css>; rel=preload']])
      if (query(environ).has('key')) await journal.held(key(environ), environ.gantry.signal)
      environ.gantry.earlyHints([['Link', '</script.js>; rel=preload']])
      startResponse('200 OK', [...plain])
      return [bytes('hinted')]
    },

    /** Echoes the bytes of the raw connection until it ends. */
    upgrade: (environ, startResponse) => {
      if (environ['HTTP_UPGRADE'] === undefined) {
        startResponse('426 Upgrade Required', [...plain])
        return [bytes('no upgrade was asked for')]
      }
      startResponse('101 Switching Protocols', [
        ['Upgrade', String(environ['HTTP_UPGRADE'])],
        ['Connection', 'Upgrade'],
      ])
      const socket = environ.gantry.upgrade()
      socket.on('data', (chunk: Buffer) => socket.write(Buffer.from(chunk.toString('latin1').toUpperCase(), 'latin1')))
      socket.on('end', () => socket.end())
      socket.on('error', () => {})
      socket.on('close', () => journal.record(key(environ), 'closed'))
      return []
    },

    /** Answers an upgrade request with an ordinary response. */
    'no-upgrade': (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return [bytes('declined')]
    },

    write: async (_environ, startResponse) => {
      const write = startResponse('200 OK', [...plain])
      await write(bytes('written;'))
      await write(bytes('twice;'))
      return [bytes('returned;')].values()
    },

    generator: function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('one;')
      yield bytes('')
      yield bytes('two;')
    },

    class: (environ, startResponse) => new Counting(journal, key(environ), () => startResponse('200 OK', [...plain])),

    promise: async (_environ, startResponse) => {
      await new Promise(setImmediate)
      startResponse('200 OK', [...plain])
      await new Promise(setImmediate)
      return [bytes('late')]
    },

    empty: (_environ, startResponse) => {
      startResponse('200 OK', [...plain])
      return []
    },

    'empty-chunks': function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('')
      yield bytes('')
    },

    'no-content': (_environ, startResponse) => {
      startResponse('204 No Content', [['X-Why', 'nothing']])
      return []
    },

    /** Yields a body with a status that has no content: the contract allows it, and the wire must not send it. */
    'no-content-body': (environ, startResponse) => {
      startResponse(query(environ).get('status') ?? '204 No Content', [['X-Why', 'nothing']])
      return [bytes('never seen')]
    },

    /** Declares the length of its body. */
    length: (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['Content-Length', '5']])
      return [bytes('he'), bytes('llo')].values()
    },

    /** Responds without reading the request's body. */
    unread: (_environ, startResponse) => {
      startResponse('403 Forbidden', [...plain])
      return [bytes('not read')]
    },

    /** Replaces its head before the head was sent. */
    'exc-info': (_environ, startResponse) => {
      startResponse('200 OK', [...plain, ['X-First', 'yes']])
      startResponse('503 Service Unavailable', [...plain, ['X-Second', 'yes']], new Error('replaced'))
      return [bytes('replaced')]
    },

    errors: (environ, startResponse) => {
      environ['wsgi.errors'].write('a line of its own\n')
      environ['wsgi.errors'].writelines(['two ', 'parts\n'])
      environ['wsgi.errors'].flush()
      startResponse('200 OK', [...plain])
      return [bytes('logged')]
    },

    /** This file, with wsgi.file_wrapper. */
    file: async (environ, startResponse) => {
      const file = await open(import.meta.filename)
      startResponse('200 OK', [...plain])
      return environ['wsgi.file_wrapper'](file as never, 1000)
    },

    /**
     * `?id=…&ms=5`: appends its run to the file `FIXTURE_RUNS`, and responds with the id: runs can be counted after
     * their process has exited.
     */
    count: async (environ, startResponse) => {
      const id = query(environ).get('id') ?? ''
      appendFileSync(String(process.env['FIXTURE_RUNS']), `${environ.REQUEST_METHOD} ${id}\n`)
      const body = await environ['wsgi.input'].read()
      await delay(number(environ, 'ms', 0))
      startResponse('200 OK', [...plain, ['X-Id', id]])
      return [bytes(`${id}:`), body, bytes('\n')]
    },
  }
}

/** A body that is an instance of a class, with its methods on the prototype. */
class Counting {
  readonly #journal: Journal
  readonly #key: string
  readonly #start: () => void
  #at = 0

  constructor(journal: Journal, name: string, start: () => void) {
    this.#journal = journal
    this.#key = name
    this.#start = start
  }

  [Symbol.asyncIterator](): this {
    this.#start()
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    this.#at += 1
    return this.#at > 3 ? { done: true, value: undefined } : { done: false, value: bytes(`${this.#at};`) }
  }

  close(): void {
    this.#journal.record(this.#key, 'close')
  }
}
