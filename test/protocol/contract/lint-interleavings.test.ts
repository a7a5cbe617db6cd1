import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Application, Body, Headers, StartResponse } from '../../../protocol/contract/application.ts'
import { AbortError } from '../../../protocol/contract/errors.ts'
import { RequestInput } from '../../../protocol/contract/input.ts'
import { ContractError, lint, type RuleCode } from '../../../protocol/contract/lint.ts'
import { makeEnviron } from '../../support/call.ts'
import { run } from '../../support/exchange.ts'

const plain: Headers = [['Content-Type', 'text/plain']]
const bytes = (text: string): Uint8Array => Buffer.from(text)
const start: StartResponse = () => async () => {}
const iterationEnd = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** `application` checked by lint, and the codes of the broken rules. */
function watched(application: Application): { linted: Application; found: RuleCode[] } {
  const found: RuleCode[] = []
  return { linted: lint(application, { report: ({ code }) => found.push(code) }), found }
}

describe('after the end', () => {
  test('a pending next() that rejects is blamed on the application, and its error is the cause', async () => {
    const { promise, reject } = Promise.withResolvers<never>()
    const linted = lint(async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('a')
      await promise
    })
    const body = (await linted(makeEnviron(), start)) as AsyncGenerator<Uint8Array> & Body
    const iterator = body[Symbol.asyncIterator]()
    await iterator.next()
    const pending = iterator.next()
    body.close!()
    const error = new Error('too late')
    reject(error)
    await assert.rejects(pending, (thrown) => {
      assert.ok(thrown instanceof ContractError)
      assert.equal(thrown.code, 'FAILED_AFTER_END')
      assert.equal(thrown.cause, error)
      return true
    })
  })

  test('a pending next() of an aborted request breaks no rule, and its error is passed on', async () => {
    const { promise, reject } = Promise.withResolvers<never>()
    const { linted, found } = watched(async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('a')
      await promise
    })
    const ran = run(linted)
    await iterationEnd()
    ran.exchange.abort(new AbortError('CLIENT_GONE', 'the client is gone'))
    reject(new Error('gone'))
    await ran.whenSettled
    assert.deepEqual(found, [])
  })

  test('an aborted request may end without startResponse', async () => {
    const ready = Promise.withResolvers<void>()
    const { linted, found } = watched(async () => {
      await ready.promise
      return []
    })
    const ran = run(linted)
    ran.exchange.abort(new AbortError('CLIENT_GONE', 'the client is gone'))
    ready.resolve()
    await ran.whenSettled
    assert.deepEqual(found, [])
  })

  test('an application that rejects after it has written its whole Content-Length is blamed', async () => {
    const { linted, found } = watched(async (_environ, startResponse) => {
      await startResponse('200 OK', [...plain, ['Content-Length', '2']])(bytes('ab'))
      throw new Error('afterwards')
    })
    await run(linted).whenSettled
    assert.deepEqual(found, ['FAILED_AFTER_END'])
  })

  test('an application that rejects before that breaks no rule', async () => {
    const { linted, found } = watched(async (_environ, startResponse) => {
      await startResponse('200 OK', [...plain, ['Content-Length', '3']])(bytes('ab'))
      throw new Error('in the middle')
    })
    await run(linted).whenSettled
    assert.deepEqual(found, [])
  })

  test('a finally that throws after the server called return() is blamed', async () => {
    const { linted, found } = watched(function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      try {
        yield bytes('a')
        yield bytes('b')
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: this is what the test is about
        throw new Error('while it was put away')
      }
    })
    await run(linted, { method: 'HEAD' }).whenSettled
    assert.deepEqual(found, ['FAILED_AFTER_END'])
  })
})

describe('headers after startResponse', () => {
  test('are blamed on the application if it changes them after it has waited', async () => {
    const { linted, found } = watched(async (_environ, startResponse) => {
      const headers: Headers = [['Content-Type', 'text/plain']]
      startResponse('200 OK', headers)
      await iterationEnd()
      headers[0]![1] = 'text/html'
      return [bytes('a')]
    })
    await run(linted).whenSettled
    assert.deepEqual(found, ['HEADERS_CHANGED'])
  })

  test('may be changed by the server, at once or when it sends them (PEP 3333)', async () => {
    const { linted, found } = watched(async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('a')
      yield bytes('b')
    })
    let given: Headers = []
    const body = (await linted(makeEnviron(), (_status, headers) => {
      given = headers
      headers.push(['Server', 'x'])
      return async () => {}
    })) as AsyncIterable<Uint8Array>
    for await (const _chunk of body) given.push(['X-Chunk', 'yes'])
    assert.deepEqual(found, [])
  })
})

describe('chunks', () => {
  test('that were written are checked until the next write', async () => {
    const buffer = Buffer.from('one')
    const { linted, found } = watched(async (_environ, startResponse) => {
      const write = startResponse('200 OK', [...plain])
      await write(buffer)
      buffer.write('two')
      await write(buffer)
      return []
    })
    await run(linted).whenSettled
    assert.deepEqual(found, ['CHUNK_CHANGED'])
  })

  test('may have their buffers transferred by the server', async () => {
    const { linted, found } = watched(async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield new Uint8Array(8)
      yield new Uint8Array(8)
    })
    for await (const chunk of (await linted(makeEnviron(), start)) as AsyncIterable<Uint8Array<ArrayBuffer>>) {
      structuredClone(chunk.buffer, { transfer: [chunk.buffer] })
    }
    assert.deepEqual(found, [])
  })
})

describe('the input', () => {
  const upload: Application = async (environ, startResponse) => {
    const body = await environ['wsgi.input'].read()
    startResponse('200 OK', [...plain])
    return [body]
  }
  const headers = ['Content-Length', '5']

  test('fails if the client disconnects during the upload, and no rule is broken', async () => {
    const { linted, found } = watched(upload)
    const input = new RequestInput({ wanted() {}, consumed() {} })
    input.push(bytes('ab'))
    const ran = run(linted, { method: 'POST', headers, input })
    ran.exchange.abort(new AbortError('CLIENT_GONE', 'the client is gone'))
    await ran.whenSettled
    assert.deepEqual(found, [])
  })

  test('that ends too early, as if it were complete, is blamed on the server', async () => {
    const { linted, found } = watched(upload)
    const input = new RequestInput({ wanted() {}, consumed() {} })
    input.push(bytes('ab'))
    input.end()
    await run(linted, { method: 'POST', headers, input }).whenSettled
    assert.deepEqual(found, ['INPUT_LENGTH'])
  })

  test('is still a RequestInput, and bytes that are read without promises are counted', async () => {
    const { linted, found } = watched((environ, startResponse) => {
      const input = environ['wsgi.input']
      assert.ok(input instanceof RequestInput)
      assert.deepEqual(input.readNow(10), bytes('abcdef'))
      startResponse('200 OK', [...plain])
      return []
    })
    const input = new RequestInput({ wanted() {}, consumed() {} })
    input.push(bytes('abcdef'))
    input.end()
    await run(linted, { method: 'POST', headers, input }).whenSettled
    assert.deepEqual(found, ['INPUT_LENGTH'])
  })
})

describe('excInfo', () => {
  test('that a server throws after the head was sent ends the response, and no rule is broken', async () => {
    const { linted, found } = watched(async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('a')
      startResponse('500 Oh', [...plain], new Error('oh'))
    })
    const ran = run(linted)
    await ran.whenSettled
    assert.equal(ran.sink.aborted?.code, 'APPLICATION')
    assert.deepEqual(found, [])
  })

  test('that an application catches before it writes on is blamed on the application', async () => {
    const { linted, found } = watched(async (_environ, startResponse) => {
      const write = startResponse('200 OK', [...plain])
      await write(bytes('a'))
      try {
        startResponse('500 Oh', [...plain], new Error('oh'))
      } catch {}
      await write(bytes('b'))
      return []
    })
    await run(linted).whenSettled
    assert.deepEqual(found, ['EXC_INFO_TRAPPED'])
  })
})

test('middleware that needs the whole content to decide about its head need not yield before', async () => {
  const found: RuleCode[] = []
  const options = { report: ({ code }: ContractError) => found.push(code) }
  const inner = lint(async function* (_environ, startResponse) {
    startResponse('200 OK', [...plain])
    yield bytes('a')
    yield bytes('b')
  }, options)
  const whole: Application = async function* (environ, startResponse) {
    let headers: Headers = []
    const chunks: Uint8Array[] = []
    const body = await inner(environ, (_status, given) => {
      headers = given
      return async () => {}
    })
    try {
      for await (const chunk of body) chunks.push(chunk)
    } finally {
      await body.close?.()
    }
    startResponse('200 OK', [...headers, ['X-Chunks', String(chunks.length)]])
    yield Buffer.concat(chunks)
  }
  const ran = run(lint(whole, options))
  await ran.whenSettled
  assert.equal(ran.sink.body, 'ab')
  assert.deepEqual(found, [])
})

test('a frozen environ.gantry is not checked and does not fail', async () => {
  const environ = makeEnviron()
  environ.gantry = Object.freeze({
    signal: new AbortController().signal,
    requestId: 'r-1',
    rawHeaders: environ.gantry.rawHeaders,
    draining: false,
    earlyHints() {},
    trailers() {},
    upgrade: () => assert.fail(),
    onFinished() {},
  })
  const linted = lint((inner, startResponse) => {
    inner.gantry.earlyHints([])
    startResponse('200 OK', [...plain])
    return []
  })
  assert.deepEqual(await linted(environ, start), [])
})

test('a value that is not an application is refused by lint()', () => {
  assert.throws(() => lint({} as never), /lint\(\) got an Object: expected an application/)
})
