/** Tells when an application has nothing left to do: its event loop is empty but for what Gantry itself keeps in it. */

import type { KeepAlive } from '../../process/keep-alive.ts'

/**
 * Standard output and error are listed as active although they do not keep the process alive; one with a write in
 * progress has a request too.
 */
const STANDARD_STREAMS: readonly string[] = ['PipeWrap', 'TTYWrap']

/** The kinds of resources that keep the event loop alive, without duplicates. */
export function activeResources(): string[] {
  return [...new Set(process.getActiveResourcesInfo())].filter((kind) => !STANDARD_STREAMS.includes(kind))
}

/**
 * Resolves when the event loop is empty, which is when Node itself would end the process. What keeps it alive only for
 * Gantry (a server's keepAlive, the channel to a parent process) does not count.
 */
export function whenIdle(keepAlive: KeepAlive): { readonly reached: Promise<void>; cancel(): void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  // The application's listeners ran first and may have started work: then Node emits the event again.
  const onIdle = (): void => {
    if (activeResources().length === 0) resolve()
  }
  process.channel?.unref()
  keepAlive.unref()
  process.on('beforeExit', onIdle)
  return {
    reached: promise,
    cancel: () => {
      process.off('beforeExit', onIdle)
      process.channel?.ref()
      keepAlive.ref()
    },
  }
}
