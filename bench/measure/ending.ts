/** How a program of the bench starts and ends: exit codes, and signals that clean up. */

import { constants } from 'node:os'
import { UsageError } from '../options.ts'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Runs a program. A wrong command line is printed in one line and exits with 2. A signal ends the program by
 * `process.exit`, so that `exit` handlers remove servers, folders and worktrees.
 */
export async function runProgram(main: () => Promise<void> | void): Promise<void> {
  for (const signal of signals) process.on(signal, () => process.exit(128 + constants.signals[signal]))
  // `npm run bench | head`: the reader of the results has exited.
  process.stdout.on('error', () => process.exit(1))
  try {
    await main()
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 2
  }
}
