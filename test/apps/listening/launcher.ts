/**
 * Forks the process that listens, as development servers do, and stays as long as it runs. The first argument is a
 * mode: `handles` SIGTERM; `respawns` a child that has ended; `shell` puts a shell between that does not pass signals
 * on. All arguments reach the child (forked.ts).
 */

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const [mode] = process.argv.slice(2)
const file = fileURLToPath(new URL('./forked.ts', import.meta.url))

function start(): ChildProcess {
  if (mode !== 'shell') return fork(file, process.argv.slice(2))
  const command = [process.execPath, file, ...process.argv.slice(2)].map((word) => `'${word}'`).join(' ')
  // A second command keeps the shell from replacing itself by the first one.
  return spawn(`${command}; echo over`, { shell: true, stdio: 'inherit' })
}

const child = start()

function respawn(): void {
  start().once('exit', respawn)
}
if (mode === 'respawns') child.once('exit', respawn)

if (mode === 'handles') {
  process.on('SIGTERM', () => {
    child.once('exit', () => process.exit(7))
    child.kill('SIGTERM')
  })
}
if (mode === 'leaves') process.on('SIGTERM', () => process.exit(8))
