/** How long a container waits for its application after the drain. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DeferredExit } from '../../../container/application/deferred-exit.ts'
import type { InterfaceName } from '../../../container/application/hosted-application.ts'
import { LoadedApplication } from '../../../container/application/loaded-application.ts'
import { silent } from '../../../protocol/log/logger.ts'
import { FakeClock } from '../../support/clock.ts'
import { afterTicks, iterationEnd } from '../../support/event-loop.ts'

const keepAlive = { ref: () => {}, unref: () => {} }

/** The application of a process whose event loop never becomes empty. */
function loaded(name: InterfaceName, clock: FakeClock): LoadedApplication {
  const application = () => []
  const lifetime = { stopping: true, stop: () => {}, keepAlive }
  const held = new DeferredExit(() => true, silent)
  return new LoadedApplication(
    { what: 'an application', interface: name, application },
    { log: silent, clock, lifetime },
    undefined,
    held,
  )
}

async function isOver(drained: Promise<void>): Promise<boolean> {
  let over = false
  void drained.then(() => (over = true))
  await afterTicks()
  await iterationEnd()
  return over
}

describe('after a drain a container', () => {
  it('gives handlers of aborted (req, res) requests 100 ms for I/O', async () => {
    const clock = new FakeClock()
    const drained = loaded('node', clock).drained(true)
    clock.advance(99)
    assert.equal(await isOver(drained), false)
    clock.advance(1)
    assert.equal(await isOver(drained), true)
    assert.equal(clock.pending, 0)
  })

  it('does not wait if no request was aborted or the application has settled', async () => {
    for (const [name, hasAborted] of [
      ['node', false],
      ['fetch', true],
      ['wsgi', true],
    ] as const) {
      assert.equal(await isOver(loaded(name, new FakeClock()).drained(hasAborted)), true, name)
    }
  })
})
