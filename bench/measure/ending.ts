/** How the bench ends on a signal: by `process.exit`, so that the `exit` handlers remove servers, folders and worktrees. */

import { constants } from 'node:os'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export function exitOnSignals(): void {
  for (const signal of signals) process.on(signal, () => process.exit(128 + constants.signals[signal]))
}
