import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import { type HealthCheckOptions, healthCheck } from '../../middleware/health-check.ts'
import type { Application } from '../../protocol/contract/application.ts'
import { type CallRequest, type CallResult, call } from '../../protocol/contract/call.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'
import { places } from '../support/places.ts'

const hello: Application = (_, start) => {
  start('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from('hello')]
}

function probe(options: HealthCheckOptions, path: string, request: CallRequest = {}): Promise<CallResult> {
  return call(healthCheck(options)(hello), { path, ...request })
}

/** An application that sees a draining process. */
/** @param state the member of the context that is true */
function stopping(state: 'draining' | 'leaving', application: Application): Application {
  return (environ, start) => {
    const { gantry } = environ
    environ.gantry = new Proxy(gantry, {
      get: (real, key) => (key === state ? true : Reflect.get(real, key, real)),
    })
    return application(environ, start)
  }
}

describe('a probe', () => {
  it('of liveness is answered 200', async () => {
    for (const path of ['/healthz', '/livez']) {
      const { status, text, header } = await probe({ check: () => false }, path)
      assert.deepEqual([status, text], [200, '{"live":true}\n'])
      assert.equal(header('cache-control'), 'no-store')
    }
  })

  it('of readiness is answered by the check', async () => {
    const table: [HealthCheckOptions['check'], number, object][] = [
      [undefined, 200, { ready: true }],
      [() => true, 200, { ready: true }],
      [async () => false, 503, { ready: false }],
      [async () => ({ ready: true, queued: 3 }), 200, { ready: true, queued: 3 }],
      [() => ({ ready: false, why: 'warming' }), 503, { ready: false, why: 'warming' }],
      [() => 'yes' as never, 503, { ready: false }],
    ]
    for (const [check, status, facts] of table) {
      const result = await probe({ check }, '/readyz')
      assert.equal(result.status, status)
      assert.deepEqual(JSON.parse(result.text), facts)
    }
  })

  it('of readiness is answered 503 when the check fails, and the reason is logged but not shown', async () => {
    for (const check of [
      () => {
        throw new Error('password wrong')
      },
      async () => {
        throw new Error('password wrong')
      },
    ]) {
      const log = new RecordingLog()
      const { status, text } = await probe({ check, log }, '/readyz')
      assert.deepEqual([status, text], [503, '{"ready":false}\n'])
      assert.equal((log.lines[0]?.fields['err'] as Error | undefined)?.message, 'password wrong')
    }
  })

  it('of readiness times out, and a check that hangs is called once', async () => {
    const clock = new FakeClock()
    const hanging = Promise.withResolvers<boolean>()
    let asked = 0
    const check = (): Promise<boolean> => {
      asked++
      return hanging.promise
    }
    const application = healthCheck({ check, timeout: 500, clock, log: new RecordingLog() })(hello)
    for (let at = 0; at < 2; at++) {
      const called = call(application, { path: '/readyz' })
      await iterationEnd()
      clock.advance(500)
      assert.equal((await called).status, 503)
    }
    assert.equal(asked, 1)
    assert.equal(clock.pending, 0)
    hanging.resolve(true)
    await iterationEnd()
    assert.equal((await call(application, { path: '/readyz' })).status, 200)
    assert.equal(asked, 2)
  })

  for (const state of ['draining', 'leaving'] as const) {
    it(`reports a process that is ${state} as live and not ready`, async () => {
      const application = stopping(state, healthCheck({ check: () => true })(hello))
      const { status, text } = await call(application, { path: '/readyz' })
      assert.equal(status, 503)
      assert.deepEqual(JSON.parse(text), { ready: false, draining: true })
      assert.equal((await call(application, { path: '/healthz' })).status, 200)
    })
  }

  it('may be a GET or a HEAD only', async () => {
    const { status, body } = await probe({}, '/healthz', { method: 'HEAD' })
    assert.deepEqual([status, body.length], [200, 0])
    const posted = await probe({}, '/healthz', { method: 'POST' })
    assert.deepEqual([posted.status, posted.header('allow')], [405, 'GET, HEAD'])
  })

  it('may use other paths; all other paths belong to the application', async () => {
    const options = { live: ['/ping'], ready: [] }
    assert.equal((await probe(options, '/ping')).text, '{"live":true}\n')
    for (const path of ['/healthz', '/readyz', '/ping/', '/']) {
      assert.equal((await probe(options, path)).text, 'hello', path)
    }
  })
})

it('invalid paths and times are refused', () => {
  assert.throws(
    () => healthCheck({ live: ['healthz'] }),
    /live is \[ 'healthz' \], expected an array of paths that begin with "\/"/,
  )
  assert.throws(() => healthCheck({ timeout: 0 }), /timeout is 0, expected a number of milliseconds above 0/)
})

for (const place of places) {
  it(`probes are answered and other requests pass ${place.name}`, async () => {
    await using placed = await place.put(healthCheck({ check: async () => true }), hello)
    assert.equal((await call(placed.application, { path: '/healthz' })).status, 200)
    assert.equal((await call(placed.application, { path: '/readyz' })).status, 200)
    assert.equal((await call(placed.application)).text, 'hello')
  })
}
