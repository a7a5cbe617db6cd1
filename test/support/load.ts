/**
 * Clients that request `/count` in a loop, with GET and POST. Each request has its own id and its own body. Checks the
 * results while processes exit and networks fail.
 */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { pattern } from '../apps/tools.ts'
import { fields } from './client.ts'
import { HttpClient } from './http-client.ts'
import { between, seeded } from './random.ts'

export interface Outcome {
  id: string
  method: 'GET' | 'POST' | 'PUT'
  /** Bytes of the body. */
  size: number
  /** 0: no response. */
  status: number
  complete: boolean
  error: string | undefined
}

export interface LoadOptions {
  port: number
  seed: number
  clients: number
  /** Largest body, bytes. */
  body: number
  /** The longest time that the application takes, ms. */
  work: number
}

export class Load {
  readonly outcomes: Outcome[] = []
  readonly #options: LoadOptions
  #stopping = false
  #made = 0
  #watchers: { enough: () => boolean; resolve: () => void }[] = []
  readonly #running: Promise<void>[]
  readonly #random: () => number

  constructor(options: LoadOptions) {
    this.#options = options
    this.#random = seeded(options.seed)
    this.#running = Array.from({ length: options.clients }, () => this.#client())
  }

  /** Resolves once `count` more requests were answered 200. */
  async answered(count: number): Promise<void> {
    const good = (): number => this.outcomes.filter(({ status }) => status === 200).length
    const due = good() + count
    await new Promise<void>((resolve, reject) => {
      this.#watchers.push({ enough: () => good() >= due, resolve })
      void Promise.all(this.#running).catch(reject)
    })
  }

  /** Stops sending; resolves when the running requests have their responses. */
  async stop(): Promise<Outcome[]> {
    this.#stopping = true
    await Promise.all(this.#running)
    return this.outcomes
  }

  async #client(): Promise<void> {
    const random = this.#random
    let client: HttpClient | undefined
    while (!this.#stopping) {
      const made = this.#made++
      const method = (['GET', 'POST', 'POST', 'PUT'] as const)[made % 4]!
      const id = `${this.#options.seed}-${made}`
      // Most bodies are small; some span many frames.
      const size = method === 'GET' ? 0 : between(random, 0, made % 10 === 0 ? this.#options.body : 500)
      const body = method === 'GET' ? undefined : pattern(made * 7919, size)
      if (!client?.reusable) client = await HttpClient.connect({ port: this.#options.port, host: '127.0.0.1' })
      const target = `/count?id=${id}&ms=${between(random, 0, this.#options.work)}`
      const answer = await client.fetch({ method, target, body, chunked: made % 3 === 0 })
      if (answer.complete && answer.status === 200) {
        assert.deepEqual(fields(answer, 'x-id'), [id], `request ${id} was given another one's head`)
        const expected = Buffer.concat([Buffer.from(`${id}:`), body ?? Buffer.alloc(0), Buffer.from('\n')])
        assert.ok(answer.body.equals(expected), `request ${id} was given another body than its own`)
      }
      const { status, complete, error } = answer
      this.outcomes.push({ id, method, size, status, complete, error })
      const ready = this.#watchers.filter(({ enough }) => enough())
      this.#watchers = this.#watchers.filter((watcher) => !ready.includes(watcher))
      for (const { resolve } of ready) resolve()
    }
    assert.equal(client?.surplus.length ?? 0, 0, 'bytes that belong to no request')
    client?.destroy()
  }
}

/** The file to which `/count` writes its runs. */
export class Runs {
  readonly path: string

  constructor(path: string) {
    this.path = path
    writeFileSync(path, '')
  }

  /** The number of runs of each request. */
  count(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const line of readFileSync(this.path, 'utf8').split('\n')) {
      const id = line.split(' ')[1]
      if (id) counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    return counts
  }
}

/**
 * Asserts what holds whichever process has exited: no POST ran twice; a request that was answered 200 ran; a truncated
 * response looks truncated; other responses are the proxy's own.
 */
export function assertSafe(outcomes: readonly Outcome[], runs: Map<string, number>): void {
  for (const { id, method, status, complete, error } of outcomes) {
    const count = runs.get(id) ?? 0
    const said = `${method} ${id}: ${status} ${complete ? 'complete' : `cut (${error})`}, ran ${count} times`
    if (method === 'POST') assert.ok(count <= 1, said)
    if (status === 200 && complete) assert.ok(count >= 1, said)
    if (complete) assert.ok([200, 502, 503, 504].includes(status), said)
  }
}
