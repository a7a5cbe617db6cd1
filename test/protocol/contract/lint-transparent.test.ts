import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import type { Application, Body, Headers } from '../../../protocol/contract/application.ts'
import { ContractError, lint } from '../../../protocol/contract/lint.ts'
import { setHeader } from '../../../protocol/contract/request-headers.ts'
import { call, makeEnviron } from '../../support/call.ts'
import { bytes, control, hello, plain } from './lint-twins/tools.ts'

/** An application with this status, these headers and this body. */
const starts =
  (status: string, headers: Headers = plain, body: unknown = []): Application =>
  (_environ, startResponse) => {
    startResponse(status, headers)
    return body as Body
  }

describe('lint is transparent', () => {
  test('a correct application is called, read and closed as without lint', async () => {
    const order: string[] = []
    const application: Application = async (environ, startResponse) => {
      const text = await environ['wsgi.input'].read()
      const write = startResponse('200 OK', [...plain])
      await write(bytes('w'))
      return {
        async *[Symbol.asyncIterator]() {
          try {
            yield text
            yield bytes('b')
          } finally {
            order.push('finally')
          }
        },
        close: () => void order.push('close'),
      }
    }
    const linted = lint(lint(application))
    const { status, body } = await call(linted, { method: 'POST', body: 'in', headers: ['Content-Length', '2'] })
    assert.equal(status, '200 OK')
    assert.equal(body.toString(), 'winb')
    assert.deepEqual(order, ['finally', 'close'])
    linted.assertClosed()
  })

  test('an array stays an array, and synchronous calls stay synchronous', () => {
    const body = lint(hello)(makeEnviron(), () => async () => {}) as Body
    assert.ok(Array.isArray(body))
    assert.deepEqual(Object.keys(body), ['0'])
    const values = lint(starts('200 OK', plain, [bytes('a')].values()))(makeEnviron(), () => async () => {})
    const result = (values as Iterable<Uint8Array>)[Symbol.iterator]().next()
    assert.deepEqual(result.value, bytes('a'))
  })

  test('return() runs the finally of a generator that lint interrupts', async () => {
    let ran = false
    const application: Application = async function* (_environ, startResponse) {
      startResponse('200 OK', [...plain])
      try {
        yield 'text' as never
      } finally {
        ran = true
      }
    }
    await assert.rejects(
      async () => call(lint(application)),
      (error) => error instanceof ContractError && error.code === 'CHUNK_TYPE',
    )
    assert.equal(ran, true)
  })

  test('responses to HEAD and 304 responses may have a Content-Length without a body', async () => {
    await call(lint(starts('200 OK', [...plain, ['Content-Length', '5']])), { method: 'HEAD' })
    await call(lint(starts('304 Not Modified', [['Content-Length', '5']])))
  })

  test('the response to an upgrade request may be 101 with Upgrade and Connection', async () => {
    const headers = ['Host', 'h', 'Upgrade', 'echo', 'Connection', 'Upgrade']
    const answer: Headers = [
      ['Upgrade', 'echo'],
      ['Connection', 'Upgrade'],
    ]
    const environ = makeEnviron({ headers, upgrade: true })
    const peer = new PassThrough()
    control(environ, { upgrade: () => peer })
    const { status } = await call(
      lint((inner, startResponse) => {
        startResponse('101 Switching Protocols', answer)
        assert.equal(inner.gantry.upgrade(), peer)
        return []
      }),
      environ,
    )
    assert.equal(status, '101 Switching Protocols')
  })

  test('a header may be changed with setHeader between two layers of lint', async () => {
    const inner = lint(hello)
    const outer = lint((environ, startResponse) => {
      setHeader(environ, 'X-Added', 'yes')
      return inner(environ, startResponse)
    })
    assert.equal((await call(outer)).body.toString(), 'hello')
  })

  test('a copied environ is accepted', async () => {
    const inner = lint(hello)
    const outer = lint((environ, startResponse) => inner({ ...environ, SCRIPT_NAME: '/a' }, startResponse))
    assert.equal((await call(outer)).body.toString(), 'hello')
  })

  test('the other side is not checked if only one side is checked', async () => {
    const { body } = await call(lint(starts('200 OK', [], [bytes('a')]), { only: 'server' }))
    assert.equal(body.toString(), 'a')
    const environ = makeEnviron()
    environ.HTTPS = 'off'
    assert.equal((await call(lint(hello, { only: 'application' }), environ)).body.toString(), 'hello')
  })

  test('each broken rule is reported, even if the caller catches the error', async () => {
    const reported: string[] = []
    const linted = lint(starts('204 No Content'), { report: (error) => reported.push(error.code) })
    await call(linted).catch(() => {})
    assert.deepEqual(reported, ['CONTENT_TYPE_PRESENT'])
  })
})
