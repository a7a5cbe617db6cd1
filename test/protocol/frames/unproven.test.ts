import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { describe, it } from 'node:test'
import { Unproven } from '../../../protocol/frames/unproven.ts'

function sockets(count: number): Socket[] {
  return Array.from({ length: count }, () => new Socket())
}

describe('connections that have not proved whose they are', () => {
  it('are 128 at most: a further one replaces the oldest', () => {
    const unproven = new Unproven()
    const all = sockets(130)
    for (const socket of all) unproven.add(socket)
    assert.deepEqual(
      all.map(({ destroyed }) => destroyed),
      all.map((_, index) => index < 2),
    )
  })

  it('are not counted once their handshake is complete, or they have closed', async () => {
    const unproven = new Unproven()
    const [proved, gone, ...others] = sockets(130)
    unproven.add(proved!)
    unproven.add(gone!)
    unproven.proved(proved!)
    gone!.destroy()
    await once(gone!, 'close')
    for (const socket of others) unproven.add(socket)
    assert.ok(!proved!.destroyed)
    assert.ok(others.every(({ destroyed }) => !destroyed))
  })
})
