/**
 * Detects that an application has nothing left to do: its event loop is empty except for what Gantry itself keeps in
 * it.
 */

import type { KeepAlive } from '../../process/stay-alive.ts'

/**
 * Node lists standard output and error as active although they do not keep the process alive. A stream with a pending
 * write is also listed as a request.
 */
const STANDARD_STREAMS: readonly string[] = ['PipeWrap', 'TTYWrap']

/** The kinds of resources that keep the event loop alive, without duplicates. */
export function activeResources(): string[] {
  return [...new Set(process.getActiveResourcesInfo())].filter((kind) => !STANDARD_STREAMS.includes(kind))
}

/**
 * Resolves when the event loop is empty: at this point Node itself would end the process. Gantry's own handles
 * (`keepAlive`, the channel to a parent process) do not count.
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
