/** Signals that ask a process to stop: once to finish its work, again to go at once. Knows nothing of what stopping means. */

import type { Clock } from '../protocol/net/clock.ts'

const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const

export type StopSignal = keyof typeof NUMBERS

const ALL = Object.keys(NUMBERS) as StopSignal[]

export interface StopHandlers {
  /** The first signal. */
  readonly finish: (signal: StopSignal) => void
  /** Another one. `code` is the exit code that shells give for it: 128 and its number. */
  readonly quit: (code: number) => void
}

// A terminal sends Ctrl-C to every process of its group, and npm forwards its own to the script that it runs: one key press
// arrives twice, a few milliseconds apart. No hand presses it again this fast.
const ONE_PRESS_MILLISECONDS = 250

/** What takes the signals; `process` is one. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown
}

/**
 * Watches `source` for SIGTERM, SIGINT and SIGHUP from now on.
 *
 * @param counted Those that count; the others do nothing. A terminal sends Ctrl-C and its end to all processes of a group, and one that has a
 *   supervisor there waits for what that says.
 */
export function onStopSignals(
  source: SignalSource,
  clock: Clock,
  { finish, quit }: StopHandlers,
  counted: readonly StopSignal[] = ALL,
): void {
  let first: number | undefined
  for (const signal of ALL) {
    source.on(signal, () => {
      if (!counted.includes(signal)) return
      if (first === undefined) {
        first = clock.now()
        finish(signal)
      } else if (clock.now() - first >= ONE_PRESS_MILLISECONDS) {
        quit(128 + NUMBERS[signal])
      }
    })
  }
}
