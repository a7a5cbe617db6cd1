/**
 * One stylesheet and its thread: transforms one document after another, each within a timeout, and replaces the thread
 * after a timeout or a crash. Clients share the queue fairly. Knows nothing about requests.
 */

import { Worker } from 'node:worker_threads'
import { FairQueue } from '../../protocol/client/fair-queue.ts'
import type { xsltCodes } from '../../protocol/contract/error-codes/feature-codes.ts'
import type { Clock, Timer } from '../../protocol/net/clock.ts'
import type { WorkOwner } from '../shared/work-owner.ts'
import type { Output } from './xml-serialize.ts'
import type { Done, Job } from './xslt-worker.ts'

/** A document was not transformed: `code` says why. */
class XsltError extends Error {
  override readonly name: string = 'XsltError'
  readonly code: keyof typeof xsltCodes

  constructor(code: XsltError['code'], message: string) {
    super(message)
    this.code = code
  }
}

export type Parameters = Readonly<Record<string, string | number | boolean>>

interface EngineOptions {
  readonly clock: Clock
  /** Timeout of one document, ms. */
  readonly timeout: number
  /** Largest number of waiting documents. */
  readonly maxQueue: number
}

/** Heap limit of the thread, MiB: several times the tree of a document of 1 MB and its result. */
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

  /** @throws XsltError (as a rejection) if the document is not transformed */
  transform(xml: string, parameters: Parameters, { client, signal }: WorkOwner): Promise<string> {
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
      // A transformation in progress is not stopped: a new thread would cost more than the rest of most documents.
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
    // An idle thread must not keep the process alive.
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
    // If this file is compiled, so is the worker's.
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
