/** A caller on a stream whose other end a container serves already, once it may call. */

import type { Duplex } from 'node:stream'
import { Caller } from '../../protocol/frames/caller.ts'
import { type Clock, systemClock } from '../../protocol/net/clock.ts'
import { RecordingLog } from './log.ts'

/** Rejects when the link is closed before that. */
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
