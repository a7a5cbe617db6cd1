/** The shared parts of the behaviour suite: requests to the fixtures, and a test with the features that it needs. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { pattern } from '../../apps/tools.ts'
import { type Answer, fields, type RequestOptions, type Sent } from '../../support/client.ts'
import type { HttpClient } from '../../support/http-client.ts'
import type { Arrangement, Feature, Running } from '../arrangement.ts'

/** The response of `/environ`. */
export interface Seen {
  variables: Record<string, string | boolean>
  rawHeaders: [string, string][]
  requestId: string
}

export interface Suite {
  /** A test: a sentence, and the features that it needs of the arrangement. */
  holds(sentence: string, needs: Feature[], run: () => Promise<void>): void
  /** A key that no other test uses. */
  fresh(): string
  open(options: RequestOptions): Promise<Sent>
  /** A raw HTTP connection. */
  connect(): Promise<HttpClient>
  fetch(options: RequestOptions): Promise<Answer>
  get(target: string, headers?: RequestOptions['headers']): Promise<Answer>
  /** The body of a 200, as latin1. */
  text(target: string, options?: Partial<RequestOptions>): Promise<string>
  /** The JSON of a 200. */
  object<T>(options: RequestOptions): Promise<T>
  seen(options?: Partial<RequestOptions>): Promise<Seen>
  variable(name: string, options?: Partial<RequestOptions>): Promise<unknown>
  /** Opens gate `key` `n` times. */
  release(key: string, n?: number): Promise<Answer>
  /** The journal of `key`, when it has `count` events. */
  eventsOf(key: string, count: number): Promise<string[]>
  /**
   * Asserts that the journal of `key` becomes these events, and still is when the suite ends: an event that must happen
   * once does not happen again later.
   */
  journalIs(key: string, events: string[]): Promise<void>
}

/** Timeout of a test, ms: longer than a busy machine needs. */
const PATIENCE = 60_000

/** Every sentence of the suites in this process. */
export const stated: Set<string> = new Set()

/** Starts the arrangement before the tests of the surrounding `describe`, and checks for faults after them. */
export function makeSuite(arrangement: Arrangement): Suite {
  const { without = {}, unavailable, lacks = () => undefined } = arrangement
  let running: Running
  const journals: [key: string, events: string[]][] = []
  let made = 0

  before(async () => {
    assert.equal(unavailable, undefined)
    running = await arrangement.start()
  })
  after(
    async () => {
      if (!running) return
      try {
        for (const [key, events] of journals) assert.deepEqual(await eventsOf(key, 0), events)
        assert.deepEqual(await object({ target: '/lint' }), [], 'lint on the application')
        assert.deepEqual(running.broken?.() ?? [], [])
      } finally {
        await running.close()
      }
    },
    { timeout: PATIENCE },
  )

  const fetch: Suite['fetch'] = async (options) => (await running.open(options)).whole()
  const get: Suite['get'] = (target, headers = []) => fetch({ target, headers })
  async function object<T>(options: RequestOptions): Promise<T> {
    const answer = await fetch(options)
    assert.equal(answer.error, undefined)
    assert.equal(answer.status, 200, answer.body.toString())
    return JSON.parse(answer.body.toString()) as T
  }
  const seen: Suite['seen'] = (options = {}) => object({ target: '/environ', ...options })
  const eventsOf: Suite['eventsOf'] = (key, count) => object({ target: `/events?key=${key}&count=${count}` })

  return {
    holds(sentence, needs, run) {
      stated.add(sentence)
      const missing = needs.find((feature) => without[feature] !== undefined)
      const reason = missing === undefined ? false : `${missing}: ${without[missing]}`
      test(sentence, { skip: reason, timeout: PATIENCE }, async (context) => {
        const lack = lacks(sentence)
        if (!lack) return run()
        context.diagnostic(`not yet in the older release: ${lack.before}`)
        if (lack.harm !== undefined) return context.skip(`${lack.before}; not tried: ${lack.harm}`)
        await assert.rejects(run, 'it holds in the older release too: take it off the list')
      })
    },
    fresh: () => `k${process.pid}-${made++}`,
    open: (options) => running.open(options),
    connect: () => running.connect!(),
    fetch,
    get,
    async text(target, options = {}) {
      const answer = await fetch({ target, ...options })
      assert.ok(answer.complete, answer.error)
      assert.equal(answer.status, 200)
      return answer.body.toString('latin1')
    },
    object,
    seen,
    variable: async (name, options = {}) => (await seen(options)).variables[name],
    release: (key, n = 1) => get(`/release?key=${key}&n=${n}`),
    eventsOf,
    async journalIs(key, events) {
      assert.deepEqual(await eventsOf(key, events.length), events)
      journals.push([key, events])
    },
  }
}

/** Whether the bytes are the first `length` bytes of the pattern. */
export function isPattern(body: Buffer, length: number): void {
  assert.equal(body.length, length)
  assert.ok(body.equals(pattern(0, length)), 'the bytes are not the ones that were sent')
}

/** The values of Content-Length. */
export function length(answer: Answer): string[] {
  return fields(answer, 'content-length')
}
