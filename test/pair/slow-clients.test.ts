/**
 * Memory of both processes with clients that are slow or do nothing: bounded by windows, whatever the clients send or
 * do not read.
 */

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { pattern } from '../apps/tools.ts'
import type { Sent } from '../support/client.ts'
import { FIXTURES, faultsOf, type Gantry, held, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'
import { temporary } from '../support/sockets.ts'

const MIB = 1024 * 1024
const WINDOW = 64 * 1024
const skip = existsSync('/proc/self/stat') ? false : 'CPU time is read from /proc'

/**
 * The growth of the memory of two processes, each measured after a collection, so that the timing of the collector has
 * no effect.
 */
class Growth {
  readonly #processes: readonly Gantry[]
  readonly #base: readonly number[]
  readonly #most: number[]

  private constructor(processes: readonly Gantry[], base: readonly number[]) {
    this.#processes = processes
    this.#base = base
    this.#most = base.map(() => 0)
  }

  static async from(processes: readonly Gantry[]): Promise<Growth> {
    return new Growth(processes, await Promise.all(processes.map(held)))
  }

  async look(): Promise<void> {
    const now = await Promise.all(this.#processes.map(held))
    for (const [at, bytes] of now.entries()) this.#most[at] = Math.max(this.#most[at]!, bytes - this.#base[at]!)
  }

  /** @param limit bytes, for each */
  assertBelow(limit: number): void {
    const [proxy, container] = this.#most.map((bytes) => (bytes / MIB).toFixed(1))
    const said = `the proxy came to hold ${proxy} MiB more and the container ${container} MiB, ${(limit / MIB).toFixed(1)} are due`
    assert.ok(Math.max(...this.#most) <= limit, said)
  }
}

interface Slow {
  processes: [proxy: Gantry, container: Gantry]
  connect(): Promise<HttpClient>
  fetch(target: string): Promise<string>
}

async function withPair(body: (slow: Slow) => Promise<void>): Promise<void> {
  const directory = await temporary()
  const address = `unix:${join(directory, 'socket')}`
  const options = ['--access-log', 'off', '--log-level', 'error', '--window', String(WINDOW)]
  const slots = ['--slots', '2000']
  const started: Gantry[] = []
  const clients: HttpClient[] = []
  try {
    const container = await startGantry(['container', FIXTURES, '--listen', address, ...options, ...slots], {
      held: true,
    })
    started.push(container)
    const proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', '--upstream', address, ...options], {
      held: true,
    })
    started.push(proxy)
    const connect = async (): Promise<HttpClient> => {
      const client = await HttpClient.connect({ port: proxy.port, host: '127.0.0.1' })
      clients.push(client)
      return client
    }
    const control = await connect()
    const fetch = async (target: string): Promise<string> => {
      const answer = await control.fetch({ target })
      assert.equal(answer.error, undefined)
      return answer.body.toString()
    }
    // Both processes have run their code once before the measurement.
    for (let at = 0; at < 50; at++) await fetch('/big?bytes=1000000')
    await body({ processes: [proxy, container], connect, fetch })
    assert.deepEqual(started.flatMap(faultsOf), [])
  } finally {
    for (const client of clients) client.destroy()
    for (const { child } of started) await child.end()
    await rm(directory, { recursive: true, force: true })
  }
}

/** Resolves when `count()` has not changed for a while: nothing more is accepted. */
async function settled(count: () => number): Promise<void> {
  for (let same = 0, last = -1; same < 5; ) {
    await delay(100)
    if (count() === last) same++
    else same = 0
    last = count()
  }
}

test('1,000 concurrent slow uploads: 250 MiB pass, and memory does not grow', { timeout: 120_000 }, async () => {
  await withPair(async ({ processes, connect, fetch }) => {
    const size = 16 * 1024
    const rounds = 16
    const piece = pattern(0, size)
    const uploads: Sent[] = []
    for (let at = 0; at < 1000; at++) {
      const client = await connect()
      const headers: [string, string][] = [['Content-Length', String(size * rounds)]]
      uploads.push(client.request({ method: 'POST', target: `/acknowledge?size=${size}`, body: 'stream', headers }))
    }
    let growth: Growth | undefined
    for (let round = 1; round <= rounds; round++) {
      // Slow: each client waits until its last piece has reached the application before it sends the next.
      for (const sent of uploads) void sent.send(piece)
      for (const sent of uploads) await sent.has(round)
      // Other clients are served meanwhile.
      assert.equal(await fetch('/hello'), 'Hello world!\n')
      // All uploads are in progress: from here on memory must not grow with the sent bytes.
      growth ??= await Growth.from(processes)
      await growth.look()
    }
    for (const sent of uploads) {
      const answer = await sent.whole()
      assert.equal(answer.complete, true)
      assert.equal(answer.body.toString(), '.'.repeat(rounds))
    }
    // A quarter of one piece for each: none of the sixteen pieces is kept.
    growth!.assertBelow(1000 * 4 * 1024)
  })
})

test('200 uploads that the application does not read cost one window each, however much is sent', {
  timeout: 120_000,
}, async () => {
  await withPair(async ({ processes, connect, fetch }) => {
    const growth = await Growth.from(processes)
    const body = pattern(0, 4 * MIB)
    let taken = 0
    for (let at = 0; at < 200; at++) {
      const client = await connect()
      const headers: [string, string][] = [['Content-Length', String(body.length)]]
      const sent = client.request({ method: 'POST', target: `/gated-head?key=up${at}`, body: 'stream', headers })
      void (async () => {
        for (let offset = 0; offset < body.length && !client.ended; offset += WINDOW) {
          await sent.send(body.subarray(offset, offset + WINDOW))
          taken += WINDOW
        }
      })()
    }
    await settled(() => taken)
    await growth.look()
    // The clients try to send 800 MiB. The kernel's buffers are not part of a process's memory.
    assert.ok(taken < 200 * 4 * MIB, 'everything was taken: nothing held it back')
    growth.assertBelow(200 * 4 * WINDOW)
    assert.equal(await fetch('/hello'), 'Hello world!\n')
  })
})

test('200 responses that clients do not read cost one window each, and arrive whole when they are read', {
  skip,
  timeout: 120_000,
}, async () => {
  await withPair(async ({ processes, connect, fetch }) => {
    const growth = await Growth.from(processes)
    const size = 12 * MIB
    const downloads: { sent: Sent; client: HttpClient }[] = []
    for (let at = 0; at < 200; at++) {
      const client = await connect()
      client.socket.pause()
      downloads.push({ sent: client.request({ target: `/big?bytes=${size}` }), client })
    }
    // From outside, only the end of all activity can be observed.
    await settled(() => processes.map(ticks).reduce((sum, one) => sum + one, 0))
    await growth.look()
    growth.assertBelow(200 * 4 * WINDOW)
    assert.equal(await fetch('/hello'), 'Hello world!\n')
    const expected = pattern(0, size)
    for (const { sent, client } of downloads.slice(0, 3)) {
      client.socket.resume()
      const answer = await sent.whole()
      assert.equal(answer.complete, true)
      assert.ok(answer.body.equals(expected))
    }
  })
})

/** The CPU time used so far; the unit does not matter. */
function ticks({ child }: Gantry): number {
  const fields = readFileSync(`/proc/${child.process.pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
  return Number(fields[11]) + Number(fields[12])
}
