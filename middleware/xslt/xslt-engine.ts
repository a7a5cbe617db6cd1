/**
 * One stylesheet and the thread that applies it: one document after another, each within a time, in a thread that is
 * replaced when it took too long or died. Clients share its queue fairly. It knows nothing of requests.
 */

import { Worker } from 'node:worker_threads'
import { FairQueue } from '../../protocol/client/fair-queue.ts'
import type { xsltCodes } from '../../protocol/contract/error-codes/feature-codes.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import type { Requester } from '../requester.ts'
import type { Output } from './xml-serialize.ts'
import type { Done, Job } from './xslt-worker.ts'

/** Why a document was not transformed. */
export class XsltError extends Error {
  override readonly name: string = 'XsltError'
  readonly code: keyof typeof xsltCodes

  constructor(code: XsltError['code'], message: string) {
    super(message)
    this.code = code
  }
}

export type Parameters = Readonly<Record<string, string | number | boolean>>

export interface EngineOptions {
  readonly clock: Clock
  /** For one document, ms. */
  readonly timeout: number
  /** Documents that may wait. */
  readonly maxQueue: number
}

/** What the thread may allocate, MiB: the tree of a document of a megabyte and its result, several times over. */
const MEMORY = 256

interface Waiting {
  readonly job: Job
  readonly resolve: (text: string) => void
  readonly reject: (error: XsltError) => void
}

export class XsltEngine {
  readonly #stylesheet: string
  readonly #output: Output
  readonly #options: EngineOptions
  readonly #queue: FairQueue<Waiting>
  #worker: Worker | undefined
  #current: Waiting | undefined
  #timer: Timer | undefined
  #count = 0

  constructor(stylesheet: string, output: Output, options: EngineOptions) {
    this.#stylesheet = stylesheet
    this.#output = output
    this.#options = options
    this.#queue = new FairQueue(options.maxQueue)
  }

  /** @returns rejects with an XsltError */
  transform(xml: string, parameters: Parameters, { client, signal }: Requester): Promise<string> {
    return new Promise((resolve, reject) => {
      const named = Object.entries(parameters).map(([name, value]) => ({ name, value }))
      const waiting: Waiting = { job: { id: ++this.#count, xml, parameters: named }, resolve, reject }
      if (!this.#current) {
        this.#queue.count(client)
        this.#run(waiting)
        return
      }
      const dropped = this.#queue.add(client, waiting)
      dropped?.reject(
        new XsltError('XSLT_BUSY', `${this.#queue.size} documents wait for the stylesheet already (maxQueue)`),
      )
      // A transformation in progress is finished: a new thread would cost more than the rest of most documents.
      const onAbort = (): void => {
        if (!this.#queue.delete(client, waiting)) return
        reject(new XsltError('XSLT_CANCELLED', 'the request ended before its document was transformed'))
      }
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  #next(): void {
    const waiting = this.#queue.take()
    if (waiting) this.#run(waiting)
    // It must not keep a process alive that has nothing else to do.
    else this.#worker?.unref()
  }

  #run(waiting: Waiting): void {
    this.#current = waiting
    this.#worker ??= this.#start()
    this.#worker.ref()
    const { timeout, clock } = this.#options
    this.#timer = clock.after(timeout, () => {
      const worker = this.#worker
      this.#worker = undefined
      void worker?.terminate()
      this.#end(new XsltError('XSLT_TIMEOUT', `the stylesheet took more than ${timeout} ms (timeout)`))
    })
    this.#worker.postMessage(waiting.job)
  }

  #start(): Worker {
    // Where this file was compiled, so was that one.
    const file = new URL(`./xslt-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)
    const worker = new Worker(file, {
      workerData: { stylesheet: this.#stylesheet, output: this.#output },
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: MEMORY },
    })
    const died = (why: string): void => {
      if (this.#worker !== worker) return
      this.#worker = undefined
      this.#end(new XsltError('XSLT_FAILED', why))
    }
    worker.on('message', (done: Done) => {
      if (this.#worker !== worker || done.id !== this.#current?.job.id) return
      this.#end('text' in done ? done.text : new XsltError('XSLT_FAILED', done.error))
    })
    worker.on('error', (error) => died(error instanceof Error ? error.message : String(error)))
    worker.on('exit', (code) => died(`its thread ended with ${code}`))
    return worker
  }

  #end(outcome: string | XsltError): void {
    const current = this.#current
    this.#current = undefined
    this.#timer?.cancel()
    if (typeof outcome === 'string') current?.resolve(outcome)
    else current?.reject(outcome)
    this.#next()
  }
}
