/**
 * Runs bcrypt comparisons in a thread (`bcrypt-worker.ts`), one at a time. Starts the thread at the first comparison,
 * and again after it has ended.
 */

import { Worker } from 'node:worker_threads'

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'

/** One thread and the comparison that it works on. */
export class BcryptThread {
  #worker: Worker | undefined
  #current: PromiseWithResolvers<boolean> | undefined

  /** @throws Error (as a rejection) if the thread ends before it has answered */
  compare(password: string, hash: string): Promise<boolean> {
    if (this.#current) throw new Error('a comparison is in progress: wait for it to settle')
    this.#current = Promise.withResolvers()
    const worker = (this.#worker ??= this.#start())
    // Keep the process alive until the answer.
    worker.ref()
    worker.postMessage({ password, hash })
    return this.#current.promise
  }

  #start(): Worker {
    const worker = new Worker(new URL(`./bcrypt-worker.${extension}`, import.meta.url))
    worker.on('message', (matches: boolean) => {
      worker.unref()
      this.#settled()?.resolve(matches)
    })
    // 'exit' follows 'error'. The next comparison starts another thread.
    let failure: unknown
    worker.on('error', (error) => {
      failure = error
    })
    worker.on('exit', () => {
      this.#worker = undefined
      this.#settled()?.reject(new Error('the password thread has ended', { cause: failure }))
    })
    return worker
  }

  #settled(): PromiseWithResolvers<boolean> | undefined {
    const current = this.#current
    this.#current = undefined
    return current
  }
}
