/**
 * The thread that compares passwords for `bcrypt-thread.ts`: a bcrypt hash takes a tenth of a second by design, for
 * which the event loop must not be blocked.
 */

import { parentPort } from 'node:worker_threads'
import { compareSync } from 'bcryptjs'

parentPort?.on('message', ({ password, hash }: { password: string; hash: string }) => {
  parentPort?.postMessage(compareSync(password, hash))
})
