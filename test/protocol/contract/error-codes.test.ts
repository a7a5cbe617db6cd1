/** Provokes the error codes for which one call is enough; other tests provoke those of connections and processes. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { headersFrom } from '../../../interfaces/fetch/headers.ts'
import { RawResponse } from '../../../interfaces/node/codec/raw-response.ts'
import { basicAuth } from '../../../middleware/auth/basic-auth.ts'
import { checkWellFormed, decodeXml } from '../../../middleware/xslt/xml-text.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { httpError, localError, peerError } from '../../../protocol/contract/coded-errors.ts'
import { Context } from '../../../protocol/contract/context.ts'
import { environFromVariables } from '../../../protocol/contract/environ.ts'
import { statusOf } from '../../../protocol/contract/error-codes.ts'
import { HttpError, LocalProtocolError, RemoteProtocolError } from '../../../protocol/contract/errors.ts'
import { RequestInput } from '../../../protocol/contract/input.ts'
import { environFromWire } from '../../../protocol/frames/environ-wire.ts'
import { defaultLimits } from '../../../protocol/http1/codec/limits.ts'
import { RequestParser } from '../../../protocol/http1/codec/parser.ts'
import { upstreamError } from '../../../proxy/upstreams/http-errors.ts'
import { makeEnviron, run } from '../../support/exchange.ts'

const PROCESS = { multithread: true, multiprocess: false, runOnce: false }
const SOURCE = { wanted(): void {}, consumed(): void {} }

function system(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}

function parserError(end: (parser: RequestParser) => unknown): Error {
  const parser = new RequestParser(defaultLimits)
  end(parser)
  parser.push(Buffer.from('GET / HTTP/1.1\r\n'))
  parser.next()
  return parser.error!
}

/** An input of two bytes that has ended, or has not. */
function input(ended: boolean): RequestInput {
  const made = new RequestInput(SOURCE)
  made.push(Buffer.from('ab'))
  if (ended) made.end()
  return made
}

async function read(made: RequestInput): Promise<never> {
  const first = made.read()
  try {
    await made.read()
  } finally {
    made.end()
    await first
  }
  throw new Error('both reads were accepted')
}

/** The error that an exchange of `application` logs. */
async function logged(application: Application): Promise<Error> {
  const { log, whenSettled } = run(application)
  await whenSettled
  return log.lines.map(({ fields }) => fields['err']).find((error) => error instanceof Error) as Error
}

const cases: readonly [code: string, status: number | undefined, provoke: () => unknown][] = [
  ['BAD_ESCAPE', 400, () => makeEnviron({ target: '/%zz' })],
  ['BAD_HEADER', 400, () => headersFrom(environWithHeader())],
  ['RESERVED_VARIABLE', 400, () => environFromVariables(['wsgi.input', 'x'], PROCESS)],
  ['MISSING_VARIABLE', 400, () => environFromWire([], [], PROCESS)],
  ['UNAUTHORIZED', 401, () => basicAuth({ users: {} })(() => [])(makeEnviron(), () => async () => {})],
  ['UPSTREAM_UNREACHABLE', 502, () => upstreamError(system('ECONNREFUSED'), 'http://a', 'connect')],
  ['UPSTREAM_CONNECT_TIMEOUT', 504, () => upstreamError(system('ECONNECT_TIMEOUT'), 'http://a', 'connect')],
  ['UPSTREAM_PROTOCOL', 502, () => upstreamError(system('HPE_INVALID_CONSTANT'), 'http://a', 'first-byte')],
  ['UPSTREAM_LOST', 502, () => upstreamError(system('ECONNRESET'), 'http://a', 'first-byte')],
  ['DETACHED', 400, () => parserError((parser) => parser.detach())],
  ['CLOSED', 400, () => parserError((parser) => parser.free())],
  ['NO_EXCHANGE', undefined, () => new Context([]).upgrade()],
  ['INPUT_ENDED', undefined, () => input(true).push(Buffer.from('c'))],
  ['INPUT_BUSY', undefined, () => read(input(false))],
  ['NOT_STARTED', undefined, () => logged(() => [Buffer.from('a')])],
  [
    'BODY_TOO_SHORT',
    undefined,
    () =>
      logged((_, start) => {
        start('200 OK', [['Content-Length', '10']])
        return [Buffer.from('abc')]
      }),
  ],
  ['RAW_RESPONSE', undefined, () => new RawResponse('GET').feed(Buffer.from('hello\r\n\r\n'))],
  ['XML_ENCODING', undefined, () => decodeXml(Buffer.from('<a/>'), 'text/xml; charset=klingon')],
  ['XML_MALFORMED', undefined, () => checkWellFormed('<a>')],
  ['XML_DOCTYPE', undefined, () => checkWellFormed('<!DOCTYPE a [<!ENTITY b "c">]><a/>')],
]

function environWithHeader(): ReturnType<typeof makeEnviron> {
  const environ = makeEnviron()
  Object.defineProperty(environ.gantry, 'rawHeaders', { value: [['a b', 'c']] })
  return environ
}

describe('an error code', () => {
  for (const [code, status, provoke] of cases) {
    it(`${code} is given${status === undefined ? '' : `, with status ${status}`}`, async () => {
      const error = await Promise.try(provoke).catch((thrown: unknown) => thrown)
      assert.ok(error instanceof Error, String(error))
      const { code: given, status: answered } = error as Error & { code?: string; status?: number }
      assert.deepEqual([given, answered], [code, status], error.stack)
    })
  }

  it('BODY_TOO_LONG is logged for bytes above the Content-Length', async () => {
    const { log, whenSettled } = run((_, start) => {
      start('200 OK', [['Content-Length', '2']])
      return [Buffer.from('abc')]
    })
    await whenSettled
    assert.deepEqual(
      log.lines.map(({ fields }) => fields['code']),
      ['BODY_TOO_LONG'],
    )
  })

  it('INPUT_CLOSED is thrown for a read after the request', async () => {
    const { environ, whenSettled } = run(
      (_, start) => {
        start('200 OK', [])
        return []
      },
      { input: new RequestInput(SOURCE) },
    )
    await whenSettled
    await assert.rejects(environ['wsgi.input'].read(), { code: 'INPUT_CLOSED' })
  })
})

describe('an error of the table', () => {
  it('has the class of its helper, and the status of its code', () => {
    const full = httpError('QUEUE_FULL', 'full', { headers: [['Retry-After', '1']] })
    assert.ok(full instanceof HttpError)
    assert.deepEqual(
      [full.status, full.code, full.message, full.headers],
      [503, 'QUEUE_FULL', 'full', [['Retry-After', '1']]],
    )
    const large = peerError('HEAD_TOO_LARGE', 'large')
    assert.ok(large instanceof RemoteProtocolError)
    assert.deepEqual([large.status, large.code], [431, 'HEAD_TOO_LARGE'])
    assert.ok(localError('INPUT_BUSY', 'busy') instanceof LocalProtocolError)
  })

  it('has status 400 where the table has none: the peer broke its protocol', () => {
    assert.equal(statusOf('FLOW_CONTROL'), 400)
    assert.equal(statusOf('UWSGI_PACKET'), 400)
  })

  it('cannot have a code that the table does not have', () => {
    // @ts-expect-error: not a code of the table
    assert.equal(httpError('NO_SUCH_CODE', '').code, 'NO_SUCH_CODE')
    // @ts-expect-error: a code of another class
    assert.equal(localError('QUEUE_FULL', '').code, 'QUEUE_FULL')
  })
})
