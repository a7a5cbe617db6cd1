import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Application, Body, Environ, Headers, StartResponse } from '../../../protocol/contract/application.ts'
import { ContractError, contractRules, lint, type RuleCode } from '../../../protocol/contract/lint.ts'
import { type CallOptions, call, makeEnviron } from '../../support/call.ts'
import { bytes, control, hello, plain } from './lint-twins/tools.ts'

/** An application with this status, these headers and this body. */
const starts =
  (status: string, headers: Headers = plain, body: unknown = []): Application =>
  (_environ, startResponse) => {
    startResponse(status, headers)
    return body as Body
  }

function isBroken(code: RuleCode): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof ContractError, `not a ContractError: ${(error as Error)?.stack ?? error}`)
    assert.equal(error.code, code)
    assert.equal(error.blame, contractRules[code].owes)
    assert.ok(error.message.includes(error.rule))
    return true
  }
}

describe('an application is blamed', () => {
  const rows: [RuleCode, string, Application, CallOptions?][] = [
    ['START_ARGUMENTS', 'startResponse has one argument', (_e, start) => (start as (s: string) => never)('200 OK')],
    [
      'START_TWICE',
      'startResponse is called again',
      (_e, start) => {
        start('200 OK', [...plain])
        start('200 OK', [...plain])
        return []
      },
    ],
    ['START_LATE', 'an array was returned before startResponse', () => [bytes('x')]],
    [
      'START_LATE',
      'a generator yields an empty chunk before startResponse',
      function* (_e, start) {
        yield bytes('')
        start('200 OK', [...plain])
      },
    ],
    ['START_MISSING', 'an empty body ends without startResponse', () => []],
    ['START_MISSING', 'a generator ends without startResponse', async function* () {}],
    [
      'START_AFTER_END',
      'startResponse is called by close()',
      (_e, start) => {
        start('200 OK', [...plain])
        return Object.assign([], { close: () => void start('500 Oh', [...plain], new Error('late')) })
      },
    ],
    ['STATUS_FORM', 'the status is a number', starts(200 as never)],
    ['STATUS_FORM', 'the status has no reason', starts('200')],
    ['STATUS_FORM', 'the status ends in a space', starts('200 ')],
    ['STATUS_FORM', 'the status splits the response', starts('200 OK\r\nX: y')],
    ['STATUS_FORM', 'the status is beyond 599', starts('600 What')],
    ['STATUS_FORM', 'the reason is not latin1', starts('200 Ω')],
    ['STATUS_INFORMATIONAL', 'the status is 100', starts('100 Continue')],
    ['STATUS_INFORMATIONAL', 'the status is 101 and nobody asked', starts('101 Switching Protocols', [])],
    ['HEADERS_ARRAY', 'headers are an object', starts('200 OK', { a: 'b' } as never)],
    ['HEADERS_ARRAY', 'a pair is a string of two letters', starts('200 OK', ['ab'] as never)],
    ['HEADERS_ARRAY', 'a pair has three elements', starts('200 OK', [['a', 'b', 'c']] as never)],
    ['HEADERS_ARRAY', 'a value is a number', starts('200 OK', [['Content-Length', 5]] as never)],
    ['HEADER_NAME', 'a name holds a colon', starts('200 OK', [['a:', 'b']])],
    ['HEADER_NAME', 'a name is empty', starts('200 OK', [['', 'b']])],
    ['HEADER_NAME', 'a header is called Status', starts('200 OK', [['Status', '200']])],
    ['HEADER_NAME', 'a name ends in a dash', starts('200 OK', [['x-', '200']])],
    ['HEADER_VALUE', 'a value holds CR LF', starts('200 OK', [['X', 'a\r\nSet-Cookie: b']])],
    ['HEADER_VALUE', 'a value holds a tab', starts('200 OK', [['X', 'a\tb']])],
    ['HEADER_VALUE', 'a value is not latin1', starts('200 OK', [['X', '☃']])],
    ['HEADER_HOP_BY_HOP', 'it sends Connection', starts('200 OK', [['Connection', 'close']])],
    ['HEADER_HOP_BY_HOP', 'it sends Transfer-Encoding', starts('200 OK', [['transfer-encoding', 'chunked']])],
    ['HEADER_CONTENT_LENGTH', 'Content-Length is no number', starts('200 OK', [['Content-Length', 'five']])],
    [
      'HEADER_CONTENT_LENGTH',
      'Content-Length is given twice',
      starts('200 OK', [
        ['Content-Length', '0'],
        ['content-length', '0'],
      ]),
    ],
    ['CONTENT_TYPE_MISSING', 'a 200 has no Content-Type', starts('200 OK', [])],
    ['CONTENT_TYPE_PRESENT', 'a 204 has a Content-Type', starts('204 No Content')],
    ['CONTENT_TYPE_PRESENT', 'a 304 has a Content-Type', starts('304 Not Modified')],
    ['BODY_ITERABLE', 'the body is undefined', starts('200 OK', plain, null)],
    ['BODY_ITERABLE', 'the body is a string', starts('200 OK', plain, 'hello')],
    ['BODY_ITERABLE', 'the body is one Uint8Array', starts('200 OK', plain, bytes('hello'))],
    ['BODY_ITERABLE', 'the body is an object', starts('200 OK', plain, {})],
    ['BODY_ITERABLE', 'the body is a promise of undefined', starts('200 OK', plain, Promise.resolve())],
    [
      'BODY_RESULT',
      'an async iterator gives no promise',
      starts('200 OK', plain, { [Symbol.asyncIterator]: () => ({ next: () => ({ done: true }) }) }),
    ],
    [
      'BODY_RESULT',
      'an iterator gives no result object',
      starts('200 OK', plain, { [Symbol.iterator]: () => ({ next: () => 5 }) }),
    ],
    ['BODY_CLOSE', 'close is no function', starts('200 OK', plain, Object.assign([], { close: true }))],
    ['CHUNK_TYPE', 'an array holds a string', starts('200 OK', plain, ['hello'])],
    ['CHUNK_TYPE', 'a generator yields a string', starts('200 OK', plain, ['hello'].values())],
    ['CHUNK_TYPE', 'an array has a hole', starts('200 OK', plain, new Array(1))],
    [
      'CHUNK_TYPE',
      'a string is written',
      async (_e, start) => {
        await start('200 OK', [...plain])('hello' as never)
        return []
      },
    ],
    [
      'CONTENT_TOO_LONG',
      'the body passes its Content-Length',
      starts('200 OK', [...plain, ['Content-Length', '4']], [bytes('hello')].values()),
    ],
    [
      'CONTENT_TOO_SHORT',
      'the body comes short',
      starts('200 OK', [...plain, ['Content-Length', '6']], [bytes('hello')]),
    ],
    [
      'WRITE_ARGUMENTS',
      'write has two arguments',
      (_e, start) => {
        ;(start('200 OK', [...plain]) as (...args: unknown[]) => void)(bytes('a'), bytes('b'))
        return []
      },
    ],
    [
      'WRITE_WHILE_ITERATED',
      'a generator calls write',
      async function* (_e, start) {
        await start('200 OK', [...plain])(bytes('a'))
        yield bytes('b')
      },
    ],
    [
      'WRITE_AFTER_END',
      'close() calls write',
      (_e, start) => {
        const write = start('200 OK', [...plain])
        return Object.assign([], { close: () => void write(bytes('late')) })
      },
    ],
    ['READ_SIZE', 'a read has half a size', reads((environ) => environ['wsgi.input'].read(0.5)), { body: 'x' }],
    [
      'READ_WHILE_READING',
      'it reads twice at once',
      reads((environ) => Promise.all([environ['wsgi.input'].read(), environ['wsgi.input'].read()])),
      { body: 'x' },
    ],
    [
      'ERRORS_TEXT',
      'it writes bytes to wsgi.errors',
      reads((environ) => environ['wsgi.errors'].write(bytes('') as never)),
    ],
    ['ERRORS_TEXT', 'it writes lines of bytes', reads((environ) => environ['wsgi.errors'].writelines([1 as never]))],
    ['TRAILERS_FUNCTION', 'trailers is given an array', reads((environ) => environ.gantry.trailers([] as never))],
    ['HEADERS_ARRAY', 'early hints are an object', reads((environ) => environ.gantry.earlyHints({} as never))],
    ['UPGRADE_ORDER', 'it upgrades before a 101', reads((environ) => environ.gantry.upgrade())],
  ]
  for (const [code, title, application, options] of rows) {
    test(`when ${title} (${code})`, () => assert.rejects(async () => call(lint(application), options), isBroken(code)))
  }

  test('when it reads its input after close() (READ_AFTER_CLOSE)', async () => {
    let environ: Environ | undefined
    await call(
      lint((given, startResponse) => {
        environ = given
        return hello(given, startResponse)
      }),
      { body: 'late' },
    )
    await assert.rejects(environ!['wsgi.input'].read(), isBroken('READ_AFTER_CLOSE'))
  })

  test('when its trailers have Content-Length (TRAILERS_FIELD), synchronously or asynchronously', async () => {
    for (const fields of [[['Content-Length', '5']], Promise.resolve([['Content-Length', '5']])]) {
      let given: (() => Headers | Promise<Headers>) | undefined
      const environ = makeEnviron()
      control(environ, {
        trailers: (fn) => {
          given = fn
        },
      })
      const application = lint((inner, startResponse) => {
        inner.gantry.trailers(() => fields as Headers)
        return hello(inner, startResponse)
      })
      await call(application, environ)
      await assert.rejects(async () => given!(), isBroken('TRAILERS_FIELD'))
    }
  })

  /** An application that uses its environ, and then responds. */
  function reads(act: (environ: Environ) => unknown): Application {
    return async (environ, startResponse) => {
      await act(environ)
      return hello(environ, startResponse)
    }
  }
})

describe('a server is blamed', () => {
  const environs: [RuleCode, string, (environ: Environ) => unknown][] = [
    ['ENVIRON_OBJECT', 'the environ is frozen', (environ) => Object.freeze(environ)],
    ['ENVIRON_OBJECT', 'the environ is a list', () => []],
    ['ENVIRON_MISSING', 'QUERY_STRING is missing', (environ) => delete (environ as Partial<Environ>).QUERY_STRING],
    ['ENVIRON_STRING', 'a variable is a number', (environ) => (environ['X'] = 5)],
    ['ENVIRON_STRING', 'a variable is not latin1', (environ) => (environ.PATH_INFO = '/☃')],
    ['ENVIRON_VALUE', 'a variable holds NUL', (environ) => (environ.PATH_INFO = '/\0')],
    ['ENVIRON_VALUE', 'CONTENT_LENGTH is empty', (environ) => (environ.CONTENT_LENGTH = '')],
    ['ENVIRON_VALUE', 'SERVER_NAME is empty', (environ) => (environ.SERVER_NAME = '')],
    ['ENVIRON_VALUE', 'SERVER_PORT is a name', (environ) => (environ.SERVER_PORT = 'http')],
    ['ENVIRON_VALUE', 'the method is no token', (environ) => (environ.REQUEST_METHOD = 'GET /')],
    ['ENVIRON_VALUE', 'HTTPS is off', (environ) => (environ.HTTPS = 'off')],
    ['ENVIRON_VALUE', 'the schemes disagree', (environ) => (environ['wsgi.url_scheme'] = 'https')],
    ['ENVIRON_CONTENT_HEADER', 'HTTP_CONTENT_TYPE is there', (environ) => (environ['HTTP_CONTENT_TYPE'] = 'a/b')],
    ['ENVIRON_PATH', 'PATH_INFO has no slash', (environ) => (environ.PATH_INFO = 'a')],
    ['ENVIRON_PATH', "SCRIPT_NAME is '/'", (environ) => (environ.SCRIPT_NAME = '/')],
    ['ENVIRON_PATH', 'both paths are empty', (environ) => (environ.PATH_INFO = '')],
    ['ENVIRON_HOP_BY_HOP', 'Proxy crosses', (environ) => (environ['HTTP_PROXY'] = 'http://evil')],
    ['ENVIRON_HOP_BY_HOP', 'Transfer-Encoding crosses', (environ) => (environ['HTTP_TRANSFER_ENCODING'] = 'chunked')],
    ['ENVIRON_HOP_BY_HOP', 'Connection crosses alone', (environ) => (environ['HTTP_CONNECTION'] = 'close')],
    ['ENVIRON_HOP_BY_HOP', 'Upgrade crosses alone', (environ) => (environ['HTTP_UPGRADE'] = 'websocket')],
    ['ENVIRON_WSGI', 'wsgi.version is a string', (environ) => (environ['wsgi.version'] = '1.0' as never)],
    ['ENVIRON_WSGI', 'the scheme is unknown', (environ) => (environ['wsgi.url_scheme'] = 'gopher')],
    ['ENVIRON_WSGI', 'a flag is a string', (environ) => (environ['wsgi.run_once'] = 'no' as never)],
    ['ENVIRON_WSGI', 'the input has no readline', (environ) => (environ['wsgi.input'] = { read() {} } as never)],
    ['ENVIRON_WSGI', 'wsgi.errors is missing', (environ) => delete (environ as Partial<Environ>)['wsgi.errors']],
    ['ENVIRON_CONTEXT', 'gantry is missing', (environ) => delete (environ as Partial<Environ>).gantry],
    [
      'ENVIRON_CONTEXT',
      'the request has no id',
      (environ) => Object.defineProperty(environ.gantry, 'requestId', { value: '' }),
    ],
    ['RAW_HEADERS', 'a variable has no line', (environ) => (environ['HTTP_COOKIE'] = 'a=b')],
    ['RAW_HEADERS', 'a variable differs from its line', (environ) => (environ['HTTP_HOST'] = 'other')],
  ]
  for (const [code, title, spoil] of environs) {
    test(`when ${title} (${code})`, () => {
      const environ = makeEnviron()
      const given = spoil(environ)
      const spoilt = Array.isArray(given) ? (given as never) : environ
      assert.throws(() => lint(hello)(spoilt, (() => async () => {}) as StartResponse), isBroken(code))
    })
  }

  test('when it forgets startResponse (CALL_ARGUMENTS)', () => {
    assert.throws(
      () => (lint(hello) as unknown as (environ: Environ) => unknown)(makeEnviron()),
      isBroken('CALL_ARGUMENTS'),
    )
  })

  test('when its startResponse returns nothing (WRITE_FUNCTION)', () => {
    assert.throws(() => lint(hello)(makeEnviron(), (() => {}) as never), isBroken('WRITE_FUNCTION'))
  })

  test('when its write returns no promise (WRITE_FUNCTION)', () => {
    const application: Application = (_environ, startResponse) => {
      void startResponse('200 OK', [...plain])(bytes('a'))
      return []
    }
    assert.throws(() => lint(application)(makeEnviron(), (() => () => {}) as never), isBroken('WRITE_FUNCTION'))
  })

  test('when its startResponse does not throw excInfo after the head (EXC_INFO_RAISED)', async () => {
    const application: Application = async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      yield bytes('a')
      startResponse('500 Oh', [...plain], new Error('oh'))
    }
    const body = (await lint(application)(makeEnviron(), () => async () => {})) as AsyncGenerator<Uint8Array>
    const iterator = body[Symbol.asyncIterator]()
    await iterator.next()
    await assert.rejects(iterator.next(), isBroken('EXC_INFO_RAISED'))
  })

  const start: StartResponse = () => async () => {}
  const generator: Application = async function* (_environ, startResponse) {
    startResponse('200 OK', [...plain])
    yield bytes('a')
    yield bytes('b')
  }

  test('when it iterates a body twice (BODY_ITERATED_TWICE)', async () => {
    const body = (await lint(generator)(makeEnviron(), start)) as AsyncIterable<Uint8Array>
    body[Symbol.asyncIterator]()
    assert.throws(() => body[Symbol.asyncIterator](), isBroken('BODY_ITERATED_TWICE'))
  })

  test('when it requests a chunk while one is pending (NEXT_WHILE_PENDING)', async () => {
    const body = (await lint(generator)(makeEnviron(), start)) as AsyncIterable<Uint8Array>
    const iterator = body[Symbol.asyncIterator]()
    const first = iterator.next()
    assert.throws(() => iterator.next(), isBroken('NEXT_WHILE_PENDING'))
    assert.equal((await first).done, false)
  })

  test('when it iterates a closed body (NEXT_AFTER_CLOSE)', async () => {
    const body = await lint(generator)(makeEnviron(), start)
    body.close!()
    assert.throws(() => (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator](), isBroken('NEXT_AFTER_CLOSE'))
  })

  test('when it closes twice, an array too (CLOSE_TWICE)', async () => {
    for (const application of [hello, generator]) {
      const body = await lint(application)(makeEnviron(), start)
      body.close!()
      assert.throws(() => body.close!(), isBroken('CLOSE_TWICE'))
    }
  })

  test('when it forgets to close (CLOSE_MISSING)', async () => {
    const linted = lint(hello)
    const body = await linted(makeEnviron(), start)
    assert.throws(() => linted.assertClosed(), isBroken('CLOSE_MISSING'))
    body.close!()
    linted.assertClosed()
  })

  test('when it closes a begun generator without return() (ITERATOR_LEFT_OPEN)', async () => {
    const linted = lint(generator)
    const body = (await linted(makeEnviron(), start)) as Body & AsyncIterable<Uint8Array>
    const iterator = body[Symbol.asyncIterator]()
    await iterator.next()
    body.close!()
    assert.throws(() => linted.assertClosed(), isBroken('ITERATOR_LEFT_OPEN'))
    await iterator.return!()
    linted.assertClosed()
  })

  const inputs: [RuleCode, string, object, (environ: Environ) => unknown][] = [
    ['INPUT_RESULT', 'read() gives a string', { read: async () => 'text' }, (e) => e['wsgi.input'].read()],
    ['INPUT_RESULT', 'read() gives no promise', { read: () => bytes('x') }, (e) => e['wsgi.input'].read()],
    ['INPUT_RESULT', 'read(1) gives two bytes', { read: async () => bytes('xx') }, (e) => e['wsgi.input'].read(1)],
    [
      'INPUT_RESULT',
      'readlines() gives one line',
      { readlines: async () => bytes('x') },
      (e) => e['wsgi.input'].readlines(),
    ],
    ['INPUT_TRAILERS', 'trailers is a list', { trailers: [] }, (e) => e['wsgi.input'].trailers],
    [
      'INPUT_TRAILERS',
      'trailers gives names alone',
      { trailers: Promise.resolve(['a']) },
      (e) => e['wsgi.input'].trailers,
    ],
  ]
  for (const [code, title, real, act] of inputs) {
    test(`when ${title} (${code})`, () => assert.rejects(() => withInput(real, act), isBroken(code)))
  }

  test('when its input has bytes after the end (INPUT_AFTER_END)', async () => {
    const answers = [bytes('ab'), bytes(''), bytes('c')]
    await assert.rejects(
      () =>
        withInput({ read: async () => answers.shift() }, async (environ) => {
          for (let i = 0; i < 3; i++) await environ['wsgi.input'].read(4)
        }),
      isBroken('INPUT_AFTER_END'),
    )
  })

  async function withInput(real: object, act: (environ: Environ) => unknown): Promise<void> {
    const environ = makeEnviron()
    const { ['wsgi.input']: whole } = environ
    environ['wsgi.input'] = new Proxy(whole, {
      get: (target, key) =>
        key in real ? (real as Record<PropertyKey, unknown>)[key] : Reflect.get(target, key, target),
    })
    await call(
      lint(async (inner, startResponse) => {
        await act(inner)
        return hello(inner, startResponse)
      }),
      environ,
    )
  }
})
