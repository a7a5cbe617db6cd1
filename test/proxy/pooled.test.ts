import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Application } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { pool } from '../../proxy/pooled.ts'
import { FakeClock } from '../support/clock.ts'
import { withDirectory } from '../support/directory.ts'
import { RecordingLog } from '../support/log.ts'
import { Container, until } from './container.ts'

const named = (name: string): Application => {
  return (_, startResponse) => {
    startResponse('200 OK', [])
    return [Buffer.from(name)]
  }
}

describe('pool', () => {
  it('holds a request until a container is there, and sends it on when it was refused', () =>
    withDirectory(async (directory) => {
      const log = new RecordingLog()
      const application = pool([`unix:${directory}/`], { log })
      const container = new Container(named('hello'))
      try {
        const early = call(application)
        await until(() => application.pool.queued === 1)
        await container.listen({ path: `${directory}/one.sock` })
        assert.equal((await early).text, 'hello')
        assert.equal(application.pool.count('ready'), 1)
        assert.ok(log.messages().includes('container is ready'))
      } finally {
        await application.close()
        await container.kill()
      }
    }))

  it('uses a container that returns at its address', () =>
    withDirectory(async (directory) => {
      const application = pool([`unix:${directory}/a.sock`, `unix:${directory}/b.sock`])
      const first = new Container(named('first'))
      const second = new Container(named('second'))
      try {
        await first.listen({ path: `${directory}/a.sock` })
        assert.equal((await call(application)).text, 'first')
        await first.kill()
        await second.listen({ path: `${directory}/b.sock` })
        assert.equal((await call(application)).text, 'second')
      } finally {
        await application.close()
        await Promise.all([first.kill(), second.kill()])
      }
    }))

  it('answers 503 at once after it was closed, which the second call waits for too', () =>
    withDirectory(async (directory) => {
      const application = pool([`unix:${directory}/a.sock`])
      const closed = application.close()
      assert.equal(application.close(), closed)
      await closed
      assert.equal((await call(application)).status, 503)
    }))

  it('does not dial after it was closed', () =>
    withDirectory(async (directory) => {
      const address = `unix:${directory}/a.sock`
      const clock = new FakeClock()
      const log = new RecordingLog()
      const closed = pool([address], { clock, log })
      await until(() => log.messages().includes('container cannot be reached; trying again'))
      await closed.close()
      const container = new Container(named('hello'))
      await container.listen({ path: `${directory}/a.sock` })
      clock.advance(60_000)
      // A container that dials later is served later.
      const other = pool([address])
      try {
        assert.equal((await call(other)).text, 'hello')
        assert.equal(container.links.length, 1)
      } finally {
        await other.close()
        await container.kill()
      }
    }))

  it('destroys links that are open after the timeout of close()', () =>
    withDirectory(async (directory) => {
      const gone = Promise.withResolvers<void>()
      const container = new Container(async ({ gantry }) => {
        gantry.signal.addEventListener('abort', () => gone.resolve())
        await gone.promise
        throw gantry.signal.reason
      })
      await container.listen({ path: `${directory}/a.sock` })
      const application = pool([`unix:${directory}/a.sock`])
      try {
        // A GET would be logged as a request that cannot be retried.
        const running = call(application, { method: 'POST', body: 'x' })
        await until(() => container.runs.size === 1)
        await application.close(1)
        assert.equal((await running).status, 502)
        await gone.promise
      } finally {
        await container.kill()
      }
    }))

  it('rejects invalid arguments', () => {
    assert.throws(() => pool([]), /expected at least one address/)
    assert.throws(() => pool(['tcp:127.0.0.1:0']), /has port 0/)
    assert.throws(() => pool(['tcp:10.0.0.1:8000']), /is on another host, .* give the option token/)
    assert.throws(() => pool(['ftp://x']), { name: 'AddressError' })
    assert.throws(() => pool(['unix:/a.sock'], { timeout: -1 }), /timeout is -1, expected a number from 0/)
  })
})
