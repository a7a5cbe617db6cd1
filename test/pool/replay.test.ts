import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Facts, isFailure, judge, MOST_ATTEMPTS, RETRIES } from '../../pool/replay.ts'
import { CallError, type CallErrorCode } from '../../protocol/frames/caller.ts'

interface Row {
  code?: CallErrorCode
  ran: 'no' | 'maybe'
  responded?: boolean
  final?: boolean
  facts?: Partial<Facts>
  /** A status, or a retry. */
  gives: number | 'again'
}

const rows: Record<string, Row> = {
  'a refused GET is sent again': { ran: 'no', facts: { method: 'GET' }, gives: 'again' },
  'a refused POST is sent again': { ran: 'no', facts: { method: 'POST' }, gives: 'again' },
  'a POST above GOAWAY is sent again': { code: 'GOAWAY', ran: 'no', facts: { method: 'POST' }, gives: 'again' },
  'a refused method of nobody’s is sent again': { ran: 'no', facts: { method: 'FROB' }, gives: 'again' },
  'a lost GET is sent again': { code: 'LOST', ran: 'maybe', facts: { method: 'GET' }, gives: 'again' },
  'a lost HEAD is sent again': { code: 'LOST', ran: 'maybe', facts: { method: 'HEAD' }, gives: 'again' },
  'a lost OPTIONS is sent again': { code: 'LOST', ran: 'maybe', facts: { method: 'OPTIONS' }, gives: 'again' },
  'a lost TRACE is sent again': { code: 'LOST', ran: 'maybe', facts: { method: 'TRACE' }, gives: 'again' },
  'a lost PUT is sent again': { code: 'LOST', ran: 'maybe', facts: { method: 'PUT' }, gives: 'again' },
  'a lost DELETE is sent again': { code: 'LOST', ran: 'maybe', facts: { method: 'DELETE' }, gives: 'again' },
  'a lost POST is not': { code: 'LOST', ran: 'maybe', facts: { method: 'POST' }, gives: 502 },
  'a lost PATCH is not': { code: 'LOST', ran: 'maybe', facts: { method: 'PATCH' }, gives: 502 },
  'a lost method of nobody’s is not': { code: 'LOST', ran: 'maybe', facts: { method: 'FROB' }, gives: 502 },
  'methods are case-sensitive (RFC 9110 §9.1)': { code: 'LOST', ran: 'maybe', facts: { method: 'get' }, gives: 502 },
  'a reset POST is not': { code: 'RESET', ran: 'maybe', facts: { method: 'POST' }, gives: 502 },
  'a reset GET is sent again': { code: 'RESET', ran: 'maybe', facts: { method: 'GET' }, gives: 'again' },
  'a GET that its application has ended is not': {
    code: 'RESET',
    ran: 'maybe',
    final: true,
    facts: { method: 'GET' },
    gives: 502,
  },
  'a PUT that its application has ended is not': {
    code: 'RESET',
    ran: 'maybe',
    final: true,
    facts: { method: 'PUT' },
    gives: 502,
  },
  'a POST on a link that broke the protocol is not': {
    code: 'PROTOCOL',
    ran: 'maybe',
    facts: { method: 'POST' },
    gives: 502,
  },
  'nothing is, once the client has a head': { ran: 'no', facts: { method: 'GET', responded: true }, gives: 502 },
  'nothing is, once the container has answered': {
    code: 'LOST',
    ran: 'maybe',
    responded: true,
    facts: { method: 'GET' },
    gives: 502,
  },
  'a refused upload that is no longer whole is not': {
    ran: 'no',
    facts: { method: 'POST', whole: false },
    gives: 502,
  },
  'a lost upload that is no longer whole is not': {
    code: 'LOST',
    ran: 'maybe',
    facts: { method: 'PUT', whole: false },
    gives: 502,
  },
  'refusals come to an end': { ran: 'no', facts: { method: 'POST', attempts: MOST_ATTEMPTS }, gives: 503 },
  'the last refusal but one is followed by another try': {
    ran: 'no',
    facts: { method: 'POST', attempts: MOST_ATTEMPTS - 1 },
    gives: 'again',
  },
  'losses are followed by as many tries as are allowed': {
    code: 'LOST',
    ran: 'maybe',
    facts: { method: 'GET', attempts: RETRIES, losses: RETRIES },
    gives: 'again',
  },
  'losses come to an end': {
    code: 'LOST',
    ran: 'maybe',
    facts: { method: 'GET', attempts: RETRIES + 1, losses: RETRIES + 1 },
    gives: 502,
  },
  'more losses are allowed where more are said to be': {
    code: 'LOST',
    ran: 'maybe',
    facts: { method: 'GET', attempts: 3, losses: 3, retries: 3 },
    gives: 'again',
  },
  'no loss is followed by another try where none is to be': {
    code: 'LOST',
    ran: 'maybe',
    facts: { method: 'GET', retries: 0 },
    gives: 502,
  },
  'a refusal is followed by another try whatever was lost before': {
    ran: 'no',
    facts: { method: 'GET', attempts: 3, losses: 1, retries: 0 },
    gives: 'again',
  },
  'refusals before do not use up the tries after a loss': {
    code: 'LOST',
    ran: 'maybe',
    facts: { method: 'GET', attempts: 5, losses: 1 },
    gives: 'again',
  },
  'a head that is too large for containers is its client’s matter': { code: 'TOO_LARGE', ran: 'no', gives: 431 },
}

for (const [title, { code = 'REFUSED', ran, responded = false, final = false, facts, gives }] of Object.entries(rows)) {
  test(title, () => {
    const losses = ran === 'maybe' ? 1 : 0
    const all: Facts = { method: 'GET', responded: false, whole: true, attempts: 1, losses, retries: RETRIES, ...facts }
    const answer = judge(new CallError(code, 'it failed', ran, responded, { final }), all)
    assert.equal(answer?.status ?? 'again', gives)
  })
}

test('a 503 after refusals says when to come back', () => {
  const answer = judge(new CallError('REFUSED', 'no', 'no', false), {
    method: 'GET',
    responded: false,
    whole: true,
    attempts: MOST_ATTEMPTS,
    losses: 0,
    retries: RETRIES,
  })
  assert.deepEqual(answer?.headers, [['Retry-After', '1']])
})

test('only what says whether it ran is a failure of an attempt', () => {
  assert.equal(isFailure(new CallError('LOST', 'gone', 'maybe', false)), true)
  assert.equal(isFailure(new Error('gone')), false)
  assert.equal(isFailure({ ran: 'no' }), false)
})
