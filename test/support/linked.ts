/** A caller whose link to a container in this process is ready for calls. */

import type { Duplex } from 'node:stream'
import { Caller } from '../../protocol/frames/caller.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { RecordingLog } from './log.ts'

/** Rejects if the link closes before it is ready. */
export async function linked(
  stream: Duplex,
  clock: Clock = systemClock,
  log: RecordingLog = new RecordingLog(),
): Promise<Caller> {
  const ready = Promise.withResolvers<void>()
  const caller = new Caller(stream, {
    clock,
    log,
    onChange: () => {
      if (caller.state === 'ready') ready.resolve()
    },
    onClosed: (error) => ready.reject(error ?? new Error('the link was closed')),
  })
  await ready.promise
  return caller
}
