/**
 * The thread that compares passwords for `bcrypt-thread.ts`: bcrypt takes a tenth of a second by design, which no event
 * loop has.
 */

import { parentPort } from 'node:worker_threads'
import { compareSync } from 'bcryptjs'

parentPort?.on('message', ({ password, hash }: { password: string; hash: string }) => {
  parentPort?.postMessage(compareSync(password, hash))
})
