import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { prettyLog } from '../../dev/pretty.ts'

const REQUEST = {
  level: 'info',
  time: 0,
  name: 'dev',
  requestId: 'a-1',
  remote: '127.0.0.1',
  method: 'GET',
  url: '/path?q',
  protocol: 'HTTP/1.1',
  status: 200,
  bytes: 12,
  ms: 3.1,
  msg: 'request',
}
const plain = prettyLog(false)
const line = (fields: object): string => `${JSON.stringify(fields)}\n`

describe('prettyLog', () => {
  it('makes a short line of a request', () => {
    assert.match(plain(line(REQUEST)), /^\d\d:\d\d:\d\d GET \/path\?q 200 3\.1 ms 12 bytes\n$/)
  })

  it('shows the id of a failed request, and the reason of an abort', () => {
    assert.match(plain(line({ ...REQUEST, status: 500 })), / 500 3\.1 ms 12 bytes a-1\n$/)
    assert.match(plain(line({ ...REQUEST, aborted: 'CLIENT_GONE' })), / 200 aborted \(CLIENT_GONE\) /)
    assert.match(plain(line({ ...REQUEST, status: 0, aborted: 'CLIENT_GONE' })), / no response aborted /)
  })

  it('leaves out its own pages’ waiting', () => {
    assert.equal(plain(line({ ...REQUEST, url: '/.gantry/dev/events?shown=1' })), '')
  })

  it('lets no target move a terminal’s cursor', () => {
    assert.match(plain(line({ ...REQUEST, url: '/\u009b2J' })), / \/%C2%9B2J 200 /)
  })

  it('escapes the controls of all other texts too', () => {
    const hostile = 'a\x1b[2J\u009b2J\u202e\nb'
    const err = { type: 'Error', message: hostile, stack: `Error: ${hostile}` }
    const text = plain(line({ level: 'warn', time: 0, host: hostile, err, msg: hostile }))
    assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/)
    assert.ok(text.includes('a\\u001b[2J\\u009b2J'), text)
  })

  it('shows an error’s stack as it is', () => {
    const err = { type: 'TypeError', message: 'no', stack: 'TypeError: no\n    at f (/a.ts:1:2)' }
    const text = plain(line({ level: 'error', time: 0, err, requestId: 'a-1', msg: 'the application failed' }))
    assert.match(
      text,
      /ERROR: the application failed \{"requestId":"a-1"\}\n {4}TypeError: no\n {8}at f \(\/a\.ts:1:2\)\n$/,
    )
  })

  it('passes text that is not a log line on unchanged', () => {
    assert.equal(plain('not JSON\n'), 'not JSON\n')
    assert.equal(plain('null\n'), 'null\n')
  })

  it('has colours only where they are wanted', () => {
    const text = prettyLog(true)(line(REQUEST))
    assert.match(text, /\x1b\[32m200\x1b\[39m/)
    assert.doesNotMatch(plain(line(REQUEST)), /\x1b/)
  })
})
