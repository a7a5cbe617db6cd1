import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ContractError, lint } from '../../../protocol/contract/lint.ts'
import { checkHead, statusFromWire } from '../../../protocol/contract/response-head.ts'
import { call } from '../../support/call.ts'

/** Whether the exchange accepts the status. */
function taken(status: string): boolean {
  try {
    checkHead(status, [], false)
    return true
  } catch (error) {
    assert.ok(error instanceof TypeError)
    return false
  }
}

/** Whether lint accepts the status. */
async function passed(status: string): Promise<boolean> {
  let code = ''
  await call(
    lint(
      (_environ, startResponse) => {
        startResponse(status, [['Content-Type', 'text/plain']])
        return []
      },
      { report: (error) => (code = error.code) },
    ),
  ).catch((error) => assert.ok(error instanceof ContractError))
  return code !== 'STATUS_FORM' && code !== 'STATUS_INFORMATIONAL'
}

const texts = fc.oneof(
  fc.string(),
  fc
    .tuple(
      fc.integer({ min: 0, max: 1099 }),
      fc.constantFrom('', ' ', '  ', '\t', '\r\n'),
      fc.string({ unit: 'binary' }),
    )
    .map(([code, space, reason]) => `${code}${space}${reason}`),
  fc.constantFrom(
    '200 ',
    '200',
    '599 Yes',
    '600 What',
    '999 Request denied',
    '99 Low',
    '200 OK ',
    '200  OK',
    '200 a\tb',
  ),
)

describe('a status line', () => {
  test('is accepted by the exchange exactly if lint accepts it', async () => {
    await fc.assert(
      fc.asyncProperty(texts, async (status) => {
        assert.equal(taken(status), await passed(status), JSON.stringify(status))
      }),
    )
  })

  for (const [given, status] of [
    ['200 OK', '200 OK'],
    ['200', '200 OK'],
    ['404 ', '404 Not Found'],
    ['299 \t', '299 Unknown'],
    ['200 all\tright ', '200 all right'],
  ] as const) {
    test(`of another protocol, ${JSON.stringify(given)}, becomes ${status}, which an application may use`, () => {
      assert.equal(statusFromWire(given), status)
      assert.ok(taken(status))
    })
  }
})
