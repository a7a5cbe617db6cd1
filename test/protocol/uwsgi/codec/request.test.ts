import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RemoteProtocolError } from '../../../../protocol/contract/errors.ts'
import { type RequestEvent, RequestReader } from '../../../../protocol/uwsgi/codec/request.ts'
import { nginxGet, nginxPost, packet, variable } from '../support.ts'

/** The events of `bytes` in pieces, with data chunks put together. */
function read(pieces: readonly Buffer[]): RequestEvent[] {
  const reader = new RequestReader()
  const events: RequestEvent[] = []
  for (const piece of pieces) {
    for (const event of reader.receive(piece)) {
      const last = events.at(-1)
      if (event.type === 'data' && last?.type === 'data') last.chunk = Buffer.concat([last.chunk, event.chunk])
      else events.push(event.type === 'data' ? { type: 'data', chunk: Buffer.from(event.chunk) } : event)
    }
  }
  return events
}

function refused(variables: readonly string[], code: string): void {
  assert.throws(
    () => read([packet(variables)]),
    (error) => error instanceof RemoteProtocolError && error.code === code && error.status === 400,
  )
}

const body = Buffer.from('a=1&b=2')
const post = Buffer.concat([packet(nginxPost(body.length)), body])

describe('a uwsgi request', () => {
  it('without a body ends at once', () => {
    assert.deepEqual(
      read([packet(nginxGet)]).map((event) => event.type),
      ['request', 'end'],
    )
  })

  for (const [how, pieces] of [
    ['whole', [post]],
    ['byte by byte', Array.from(post, (byte) => Buffer.of(byte))],
    ['with bytes after its end', [Buffer.concat([post, Buffer.from('GET / HTTP/1.1\r\n\r\n')])]],
    ['with its head and body apart', [post.subarray(0, -body.length), post.subarray(-body.length)]],
  ] as const) {
    it(`is read ${how}`, () => {
      const events = read(pieces)
      assert.deepEqual(
        events.map((event) => event.type),
        ['request', 'data', 'end'],
      )
      assert.ok(events[0]?.type === 'request' && events[0].length === body.length)
      assert.ok(events[1]?.type === 'data' && events[1].chunk.equals(body))
    })
  }

  it('is read in the same way however it is split', () => {
    const cuts = fc.array(fc.integer({ min: 0, max: post.length }), { maxLength: 8 })
    const whole = read([post])
    fc.assert(
      fc.property(cuts, (at) => {
        const edges = [0, ...at.sort((a, b) => a - b), post.length]
        const pieces = edges.slice(1).map((end, i) => post.subarray(edges[i], end))
        assert.deepEqual(read(pieces), whole)
      }),
    )
  })

  it('with a head of 64 KiB is read byte by byte', () => {
    const variables = ['REQUEST_METHOD', 'GET', 'HTTP_COOKIE', 'c'.repeat(65_000)]
    const events = read(Array.from(packet(variables), (byte) => Buffer.of(byte)))
    assert.ok(events[0]?.type === 'request')
    assert.deepEqual(events[0].variables, variables)
  })

  it('with modifier1 30 has SCRIPT_NAME removed from its PATH_INFO', () => {
    const path = (script: string, info: string): string | undefined => {
      const event = read([packet(['REQUEST_METHOD', 'GET', 'SCRIPT_NAME', script, 'PATH_INFO', info], 30)])[0]
      assert.ok(event?.type === 'request')
      return variable(event.variables, 'PATH_INFO')
    }
    assert.equal(path('/app', '/app/x'), '/x')
    assert.equal(path('/app', '/app'), '')
    assert.equal(path('/app', '/apple'), '/apple')
    assert.equal(path('', '/x'), '/x')
  })

  it('with modifier1 0 keeps its PATH_INFO', () => {
    const event = read([packet(['REQUEST_METHOD', 'GET', 'SCRIPT_NAME', '/app', 'PATH_INFO', '/app/x'])])[0]
    assert.ok(event?.type === 'request')
    assert.equal(variable(event.variables, 'PATH_INFO'), '/app/x')
  })

  it('recognises a ping', () => {
    assert.deepEqual(read([Buffer.of(100, 0, 0, 0)]), [{ type: 'ping' }])
  })

  it('with another modifier1 is refused', () => {
    assert.throws(
      () => read([packet([], 224)]),
      (error) => error instanceof RemoteProtocolError && error.code === 'UWSGI_MODIFIER',
    )
  })

  it('keeps variables of `uwsgi_param`, and repeated headers in order', () => {
    const variables = ['REQUEST_METHOD', 'GET', 'MY_VARIABLE', 'mine', 'HTTP_X', '1', 'UWSGI_APPID', 'a', 'HTTP_X', '2']
    const event = read([packet(variables)])[0]
    assert.ok(event?.type === 'request')
    assert.deepEqual(event.variables, variables)
  })

  it('loses variables that load code, impersonate the gateway, or are not the name of a header', () => {
    const bad = [
      'UWSGI_SCRIPT',
      'UWSGI_MODULE',
      'UWSGI_FILE',
      'UWSGI_CHDIR',
      'UWSGI_HOME',
      'UWSGI_SETENV',
      'UWSGI_POSTFILE',
    ]
    const names = [
      ...bad,
      'wsgi.url_scheme',
      'gantry',
      'gantry.token',
      '',
      'HTTP_',
      'HTTP_X Y',
      'HTTP_X\r\nY',
      'HTTP_X-Y',
    ]
    const event = read([packet(['REQUEST_METHOD', 'GET', ...names.flatMap((name) => [name, 'x'])])])[0]
    assert.ok(event?.type === 'request')
    assert.deepEqual(event.variables, ['REQUEST_METHOD', 'GET'])
  })

  it('loses an empty CONTENT_LENGTH and CONTENT_TYPE', () => {
    const event = read([packet(nginxGet)])[0]
    assert.ok(event?.type === 'request')
    assert.equal(variable(event.variables, 'CONTENT_LENGTH'), undefined)
    assert.equal(variable(event.variables, 'CONTENT_TYPE'), undefined)
    assert.equal(event.length, 0)
  })

  it('gets its scheme from UWSGI_SCHEME', () => {
    const event = read([packet(['REQUEST_METHOD', 'GET', 'REQUEST_SCHEME', 'http', 'UWSGI_SCHEME', 'https'])])[0]
    assert.ok(event?.type === 'request')
    assert.equal(variable(event.variables, 'REQUEST_SCHEME'), 'https')
    assert.equal(variable(event.variables, 'HTTPS'), 'on')
  })

  for (const length of ['-1', '1e3', '0x10', ' 5', '5,5', '99999999999999999999', '9007199254740993', 'five']) {
    it(`with CONTENT_LENGTH ${JSON.stringify(length)} is refused`, () => {
      refused(['REQUEST_METHOD', 'POST', 'CONTENT_LENGTH', length], 'UWSGI_CONTENT_LENGTH')
    })
  }

  it('with two CONTENT_LENGTHs that differ is refused', () => {
    refused(['REQUEST_METHOD', 'POST', 'CONTENT_LENGTH', '5', 'CONTENT_LENGTH', '6'], 'UWSGI_CONTENT_LENGTH')
  })

  for (const [what, variables] of [
    ['no method', ['PATH_INFO', '/']],
    ['a method that is no token', ['REQUEST_METHOD', 'GET / HTTP/1.1\r\nX: y']],
    ['a line end in a header', ['REQUEST_METHOD', 'GET', 'HTTP_X', 'a\r\nY: b']],
    ['a NUL in its path', ['REQUEST_METHOD', 'GET', 'PATH_INFO', '/\0']],
    ['a line end in its target', ['REQUEST_METHOD', 'GET', 'REQUEST_URI', '/a\nb']],
  ] as const) {
    it(`with ${what} is refused`, () => refused(variables, 'UWSGI_VARIABLE'))
  }

  it('of random bytes gives events or a RemoteProtocolError, and never more body than it declared', () => {
    const junk = fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes))
    const start = fc.constantFrom(post, packet(nginxGet), packet(nginxPost(1000)), Buffer.of(0), Buffer.of(30, 2, 0))
    fc.assert(
      fc.property(start, fc.array(junk, { maxLength: 5 }), (first, pieces) => {
        const reader = new RequestReader()
        let announced = 0
        let given = 0
        try {
          for (const piece of [first, ...pieces]) {
            for (const event of reader.receive(piece)) {
              if (event.type === 'request') announced = event.length
              if (event.type === 'data') given += event.chunk.length
              if (event.type === 'end') assert.equal(given, announced)
            }
          }
        } catch (error) {
          assert.ok(error instanceof RemoteProtocolError)
        }
        assert.ok(given <= announced)
      }),
    )
  })
})
