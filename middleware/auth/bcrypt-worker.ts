/**
 * The thread that compares passwords for `bcrypt-thread.ts`: bcrypt takes 0.1 s by design, and would block the event
 * loop.
 */

import { parentPort } from 'node:worker_threads'
import { compareSync } from 'bcryptjs'

parentPort?.on('message', ({ password, hash }: { password: string; hash: string }) => {
  parentPort?.postMessage(compareSync(password, hash))
})
