import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { AccessLine } from '../../../middleware/access-log/access-line.ts'
import { combinedLine } from '../../../middleware/access-log/combined-log.ts'

const WALL = Date.UTC(2026, 2, 4, 13, 55, 36)

const LINE: AccessLine = {
  requestId: 'r1',
  remote: '127.0.0.1',
  user: 'frank',
  method: 'GET',
  url: '/apache_pb.gif',
  protocol: 'HTTP/1.0',
  status: 200,
  bytes: 2326,
  ms: 0,
  referer: 'http://www.example.com/start.html',
  userAgent: 'Mozilla/4.08 [en] (Win98; I ;Nav)',
}

/** The line without its time, which depends on the time zone of the machine. */
function line(fields: Partial<AccessLine>): string {
  return combinedLine({ ...LINE, ...fields }, WALL).replace(/\[[^\]]*\d{4}\]/, '[time]')
}

/** Omitted members are absent, not undefined. */
function without(...names: (keyof AccessLine)[]): string {
  const fields: AccessLine = { ...LINE }
  for (const name of names) delete (fields as Partial<AccessLine>)[name]
  return combinedLine(fields, WALL).replace(/\[[^\]]*\d{4}\]/, '[time]')
}

/** The time between the brackets, parsed by Date. */
function timeIn(text: string): number {
  const [, day, month, year, time, zone] = /\[(\d\d)\/(\w{3})\/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})\]/.exec(text) ?? []
  assert.ok(zone, text)
  return Date.parse(`${day} ${month} ${year} ${time} ${zone}`)
}

describe('the combined format', () => {
  it("equals the example in Apache's manual", () => {
    assert.equal(
      line({}),
      '127.0.0.1 - frank [time] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"\n',
    )
  })

  it('has a dash for a missing value', () => {
    assert.equal(
      without('user', 'referer', 'userAgent'),
      '127.0.0.1 - - [time] "GET /apache_pb.gif HTTP/1.0" 200 2326 "-" "-"\n',
    )
    assert.match(line({ bytes: 0, status: 304 }), / 304 - "/)
  })

  it('shows the received part of a malformed request line, and of an incomplete one', () => {
    const { method, url, protocol, ms, ...refused } = LINE
    assert.match(combinedLine({ ...refused, request: '\x16\x03"' }, WALL), / "\\x16\\x03\\"" 200 /)
    assert.match(combinedLine({ ...refused, method: 'GET', url: '/long' }, WALL), / "GET \/long" 200 /)
  })

  it('distinguishes an empty user from no user, as Apache does', () => {
    assert.match(line({ user: '' }), / - "" \[/)
  })

  it('has the start of the request, with the time zone', () => {
    assert.equal(timeIn(combinedLine(LINE, WALL)), WALL)
    assert.equal(timeIn(combinedLine({ ...LINE, ms: 90_000 }, WALL)), WALL - 90_000)
  })

  it('escapes quotes, backslashes, control characters and non-ASCII, as Apache does', () => {
    assert.match(line({ userAgent: 'a"b\\c\r\n\t\v\b\0\x7f\xe9' }), /"a\\"b\\\\c\\r\\n\\t\\v\\b\\x00\\x7f\\xe9"\n$/)
    assert.match(line({ url: '/\x1b[31m' }), /"GET \/\\x1b\[31m HTTP/)
  })

  it('lets no user name forge another field', () => {
    assert.match(line({ user: 'a [x] "GET' }), /^127\.0\.0\.1 - a\\x20\[x\]\\x20\\"GET \[time\] "GET/)
  })

  it('is one printable line for any input', () => {
    const all = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join('')
    const text = line({ user: all, url: all, referer: all, userAgent: all, remote: all, method: all })
    assert.match(text, /^[ -~]+\n$/)
  })

  it('has a status for an unanswered request', () => {
    assert.match(line({ status: 0, bytes: 0, aborted: 'CLIENT_GONE' }), /" 499 - "/)
    assert.match(line({ status: 0, bytes: 0, aborted: 'DRAIN_TIMEOUT' }), /" - - "/)
  })
})
