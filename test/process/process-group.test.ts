/** A child's process group: none of its processes runs when the child counts as exited. */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import { childOf } from '../../process/children.ts'
import { signalGroup, withGroup } from '../../process/process-group.ts'
import { processTable } from '../../process/process-table.ts'
import type { Child } from '../../process/supervise.ts'
import { systemClock } from '../../protocol/net/clock.ts'
import { FakeClock } from '../support/clock.ts'
import { until } from '../support/until.ts'

interface Group {
  readonly leader: ChildProcess
  readonly child: Child<unknown>
  readonly clock: FakeClock
}

/** A shell that leads a group, and a process that outlives the shell (`rest`). */
async function withLeader(rest: string, body: (group: Group) => Promise<void>): Promise<void> {
  const clock = new FakeClock()
  // Its last output is written after `rest` has set its traps.
  const script = `sh -c '${rest}' & read -r line`
  const leader = spawn('sh', ['-c', script], { detached: true, stdio: ['pipe', 'pipe', 'inherit', 'ipc'] })
  const child = withGroup(
    childOf(() => leader, assert.fail),
    leader.pid,
    clock,
  )
  try {
    await once(leader.stdout!, 'data')
    await body({ leader, child, clock })
  } finally {
    signalGroup(leader.pid!, 'SIGKILL')
  }
}

const WAITS = 'echo ready; while :; do sleep 0.05; done'
const OBEYS = `trap "echo asked; exit" TERM; ${WAITS}`
const IGNORES = `trap "" TERM; ${WAITS}`

/** Whether it has exited at this time of the fake clock. */
function exitOf({ child }: Group): { code: number | null | undefined } {
  const seen: { code: number | null | undefined } = { code: undefined }
  void child.exited.then(({ code }) => {
    seen.code = code
  })
  return seen
}

describe('a child that leads a process group', () => {
  it('has exited when the processes that it left running have ended after SIGTERM', () =>
    withLeader(OBEYS, async (group) => {
      const seen = exitOf(group)
      group.leader.stdin!.end('\n')
      const [asked] = (await once(group.leader.stdout!, 'data')) as [Buffer]
      assert.equal(String(asked), 'asked\n')
      await once(group.leader.stdout!.resume(), 'close')
      await until(() => {
        group.clock.advance(25)
        return seen.code !== undefined
      })
      assert.equal(seen.code, 0)
    }))

  it('has exited after 2 s at most: what ignores SIGTERM is killed', () =>
    withLeader(IGNORES, async (group) => {
      const seen = exitOf(group)
      const closed = once(group.leader.stdout!.resume(), 'close')
      group.leader.stdin!.end('\n')
      await once(group.leader, 'exit')
      await until(() => group.clock.pending > 0)
      group.clock.advance(1_900)
      await until(() => group.clock.pending > 0)
      assert.equal(seen.code, undefined)
      assert.equal(signalGroup(group.leader.pid!, 0), true)
      // Now it is killed, which the system does with a delay.
      group.clock.advance(100)
      await until(() => !processTable()?.some((one) => one.group === group.leader.pid && !one.isZombie))
      assert.equal(seen.code, undefined)
      group.clock.advance(25)
      await until(() => seen.code !== undefined)
      assert.equal(seen.code, 0)
      await closed
    }))

  it('is killed with all of its group', () =>
    withLeader(IGNORES, async ({ leader, child }) => {
      const output = once(leader.stdout!, 'close')
      leader.stdout!.resume()
      child.kill('SIGKILL')
      // The output ends when no process has it open.
      await output
    }))

  it('alone gets a signal that asks it to stop', () =>
    withLeader(IGNORES, async ({ leader, child }) => {
      const exit = once(leader, 'exit')
      child.kill('SIGTERM')
      await exit
      assert.equal(signalGroup(leader.pid!, 0), true)
    }))

  it('that could not be started has exited at once', async () => {
    const leader = spawn('/nowhere/at/all', { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
    const child = withGroup(
      childOf(
        () => leader,
        () => {},
      ),
      leader.pid,
      systemClock,
    )
    assert.deepEqual(await child.exited, { code: null, signal: null })
  })
})
