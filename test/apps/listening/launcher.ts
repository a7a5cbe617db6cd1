/**
 * Forks the process that listens, as development servers do, and stays as long as it runs. The first argument is `handles` for one that handles
 * SIGTERM; the whole of them reaches the child (forked.ts).
 */

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const [mode] = process.argv.slice(2)
const child = fork(fileURLToPath(new URL('./forked.ts', import.meta.url)), process.argv.slice(2))

if (mode === 'handles') {
  process.on('SIGTERM', () => {
    child.once('exit', () => process.exit(7))
    child.kill('SIGTERM')
  })
}
if (mode === 'leaves') process.on('SIGTERM', () => process.exit(8))
