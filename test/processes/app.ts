/** The application of the process tests: it identifies itself, writes to every stream, and crashes on request. */

import { closeSync, openSync } from 'node:fs'
import type { Application } from '../../protocol/contract/application.ts'

const leaked: number[] = []

/** Opens every remaining file descriptor. */
function leak(): void {
  try {
    for (;;) leaked.push(openSync('/dev/null', 'r'))
  } catch {
    // No file descriptor is left.
  }
}

export const application: Application = (environ, startResponse) => {
  if (environ.PATH_INFO === '/crash') process.kill(process.pid, 'SIGKILL')
  if (environ.PATH_INFO === '/talk') {
    console.log('said on standard output')
    console.error('said on standard error')
    process.emitWarning('said by Node')
    environ['wsgi.errors'].write('said to wsgi.errors\n')
  }
  if (environ.PATH_INFO === '/leak') leak()
  if (environ.PATH_INFO === '/free') for (const descriptor of leaked.splice(0)) closeSync(descriptor)
  if (environ.PATH_INFO === '/never') return new Promise(() => {})
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [Buffer.from(String(process.pid))]
}
