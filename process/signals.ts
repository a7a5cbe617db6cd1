/** Signals that stop a process: the first one asks it to finish its work, the second one to exit immediately. */

import type { Clock } from '../protocol/net/clock.ts'

const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const

export type StopSignal = keyof typeof NUMBERS

const ALL = Object.keys(NUMBERS) as StopSignal[]

interface StopHandlers {
  /** The first signal. */
  readonly finish: (signal: StopSignal) => void
  /** A later signal. `code` is the exit code that shells use for it: 128 + its number. */
  readonly quit: (code: number) => void
}

// A terminal sends Ctrl-C to every process of its group, and npm forwards its own signal to the script: one key press
// arrives twice, a few milliseconds apart. Nobody presses the key again this fast.
const ONE_PRESS_MILLISECONDS = 250

/** An emitter of signals: `process`. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown
}

/**
 * Watches `source` for SIGTERM, SIGINT and SIGHUP from now on.
 *
 * @param counted the signals that count; the others have no effect. A terminal sends Ctrl-C and SIGHUP to all processes
 *   of a group, and a supervised process waits for its supervisor's signal.
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
