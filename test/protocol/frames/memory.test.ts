/** An idle connection keeps nothing of its last read in memory. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FrameConnection, FrameEvent } from '../../../protocol/frames/codec/connection.ts'
import { drain, FIELDS, pair } from './support.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Sends a request with a body. No variable of a caller refers to its event afterwards. */
function requested(caller: FrameConnection, server: FrameConnection): { requests: number; event: WeakRef<FrameEvent> } {
  caller.request(FIELDS, { end: true, hold: false, upgrade: false }, Buffer.alloc(1_000))
  const events = server.receive(drain(caller))
  return { requests: events.filter(({ type }) => type === 'request').length, event: new WeakRef(events[0]!) }
}

test('an idle connection does not keep the events of its last read in memory', async () => {
  const { caller, server } = pair()
  const { requests, event } = requested(caller, server)
  assert.equal(requests, 1)
  // A WeakRef holds its target until the job that made it ends.
  await iterationEnd()
  collect()
  assert.equal(event.deref(), undefined)
  assert.equal(server.state, 'open')
})
