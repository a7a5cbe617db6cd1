/** Clients, applications and containers can put text into log lines, but cannot forge lines or control a terminal. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { Container } from '../proxy/container.ts'
import { withDirectory } from '../support/directory.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'
import { until } from '../support/until.ts'

/** In latin1, as heads are. */
const EVIL = '\x1b[31m\x07\x7f\x9b2J\x85"\\ {"level":"error","msg":"forged"}'
/** What JavaScript text can hold beyond that. */
const WORSE = `${EVIL}\u2028\u2029\u202e\u200f\ufeff\r\n{"msg":"forged"}\n`

const APPLICATION = `
const worse = ${JSON.stringify(WORSE)}
export const application = (environ, startResponse) => {
  environ.REMOTE_USER = worse
  environ['wsgi.errors'].write(worse)
  if (environ.PATH_INFO === '/fails') throw new Error(worse)
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hello')]
}
`

/** Sends raw bytes, and resolves once the server has closed the connection. */
function send(port: number, text: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.on('error', () => {})
    socket.on('close', () => resolve())
    socket.resume()
    socket.write(text, 'latin1')
  })
}

const END = 'Connection: close\r\n\r\n'
/** Controls cannot be in a field, so that these are in request lines; all else is in fields that are logged. */
const REQUESTS = [
  `GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: ${EVIL.replace(/[\x00-\x1f\x7f]/g, '')}\r\nReferer: \x85\x9b31m"\r\n${END}`,
  `GET /fails HTTP/1.1\r\nHost: a\r\n${END}`,
  `${EVIL}\r\n\r\n`,
  `GET /${EVIL} HTTP/1.1\r\nHost: a\r\n${END}`,
  `G${EVIL} / HTTP/1.1\r\nHost: a\r\n${END}`,
  `GET / HTTP/1.1\r\nHost: ${EVIL}\r\n${END}`,
  `GET / HTTP/1.1\r\nHost: \x9b\r\n${END}`,
  `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \x9b"\r\n${END}`,
  `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x9b"\r\n${END}`,
  `GET / HTTP/1.1\r\nHost: a\r\nExpect: \x9b"\r\n${END}`,
  `GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: \x9b"\r\nX-Forwarded-For: \x9b"\r\n${END}`,
]

/** Printable ASCII, and letters that no application here has used. */
function assertHarmless({ child }: Gantry, format: string): void {
  const lines = child.stdout.split('\n')
  assert.equal(lines.pop(), '')
  for (const line of lines) {
    assert.match(line, /^[ -~]*$/)
    if (format === 'json' || line.startsWith('{')) {
      assert.notEqual(JSON.parse(line).msg, 'forged', line)
    } else
      assert.match(
        line,
        /^[^ ]+ - [^ ]+ \[[^\]]+\] "(?:[^"\\]|\\.)*" (?:\d{3}|-) (?:\d+|-) "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"$/,
      )
  }
}

suite('no log line is forged', () => {
  for (const format of ['json', 'combined']) {
    test(`by bytes of clients or messages of applications, in ${format}`, () =>
      withDirectory(async (directory) => {
        const module = join(directory, 'app.mjs')
        writeFileSync(module, APPLICATION)
        const common = ['--access-log', format, '--log-level', 'debug', '--trusted-peers', 'loopback']
        const container = await startGantry(['container', module, '--listen', '127.0.0.1:0', ...common])
        const upstream = `127.0.0.1:${container.port}`
        const proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', '--upstream', upstream, ...common])
        try {
          for (const request of REQUESTS) {
            await send(proxy.port, request)
            await send(container.port, request)
          }
          // What begins like no protocol is refused at a container's port before it is a request.
          for (const [{ child }, lines] of [
            [proxy, REQUESTS.length],
            [container, REQUESTS.length - 1],
          ] as const) {
            const count = () => child.stdout.split('\n').filter((line) => /"msg":"request"|^127/.test(line)).length
            await child.until(() => count() >= lines)
            assert.equal(count(), lines)
          }
        } finally {
          await proxy.child.end()
          await container.child.end()
        }
        assert.equal(proxy.child.stderr, '')
        assertHarmless(proxy, format)
        assertHarmless(container, format)
      }))
  }

  test('by the identity that a container sends', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'join.sock')
      const argv = ['proxy', '--listen', '127.0.0.1:0', '--join-listen', `unix:${path}`, '--log-level', 'debug']
      const proxy = await startGantry(argv)
      const container = new Container(() => [], { id: 'one' })
      try {
        container.join({ path })
        await proxy.child.until(() => proxy.child.stdout.includes('container is ready'))
        container.link.drain(WORSE)
        await proxy.child.until(() => proxy.child.stdout.includes('takes no more requests'))
        await until(() => container.streams.length === 0)
        await send(proxy.port, REQUESTS[2]!)
      } finally {
        await container.kill()
        await proxy.child.end()
      }
      assertHarmless(proxy, 'json')
      assert.ok(proxy.child.stdout.includes('forged'), 'the reason is in the log')
    }))
})
