/** What every framework's application answers with: data, notes that tests read, and streams. It knows no framework. */

import { Readable } from 'node:stream'

export const files: string = process.env['FILES'] ?? '.'

/** What the proxy adds to requests: left out where fields are told, and told by a route of its own. */
const added = new Set([
  'forwarded',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-for',
  'x-request-id',
  'connection',
])

export function withoutAdded<T>(headers: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !added.has(name.toLowerCase())))
}

/** A text that compresses. */
export const text: string = Array.from({ length: 400 }, (_, at) => `line ${at}: the quick brown fox\n`).join('')

/** Notes by key, and who waits for them. */
const notes: Map<string, string[]> = new Map()
const waiting: Set<() => void> = new Set()

export function note(key: string, event: string): void {
  const list = notes.get(key) ?? []
  list.push(event)
  notes.set(key, list)
  for (const wake of waiting) wake()
}

/** Resolves as soon as there are `count` notes. */
export async function noted(key: string, count: number): Promise<string[]> {
  for (;;) {
    const list = notes.get(key) ?? []
    if (list.length >= count) return list
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        waiting.delete(wake)
        resolve()
      }
      waiting.add(wake)
    })
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

export async function* chunks(): AsyncGenerator<Buffer> {
  for (let at = 0; at < 5; at++) {
    yield Buffer.from(`chunk ${at}\n`)
    await pause(2)
  }
}

/** A chunk, and the next only when `/release` was asked for: who buffers never gives the first. */
export async function* held(key: string): AsyncGenerator<Buffer> {
  yield Buffer.from('first\n')
  await noted(`${key}-release`, 1)
  yield Buffer.from('second\n')
}

export async function* events(): AsyncGenerator<Buffer> {
  for (let at = 0; at < 3; at++) {
    yield Buffer.from(`id: ${at}\nevent: tick\ndata: {"at":${at}}\n\n`)
    await pause(2)
  }
}

/** Until its reader goes, which is noted. */
export async function* endless(key: string): AsyncGenerator<Buffer> {
  try {
    for (let at = 0; ; at++) {
      yield Buffer.from(`data: ${at}\n\n`)
      await pause(5)
    }
  } finally {
    note(key, 'ended')
  }
}

/** A chunk and then an error, when the chunk has had time to leave. */
export async function* failing(): AsyncGenerator<Buffer> {
  yield Buffer.from('begun')
  await pause(30)
  throw new Error('the stream failed')
}

export const BIG = 3_000_000

export async function* big(): AsyncGenerator<Buffer> {
  for (let at = 0; at < BIG / 50_000; at++) yield Buffer.alloc(50_000, at)
}

export function stream(source: AsyncGenerator<Buffer>): Readable {
  return Readable.from(source, { objectMode: false })
}

/** Fields that repeat, and one hundred others. */
export function manyFields(): [string, string][] {
  return Array.from({ length: 100 }, (_, at) => [`X-Field-${at}`, `value ${at}`])
}

let sessions = 0

/** Each process makes the same ones. */
export function sessionId(): string {
  return `session-${'0'.repeat(32)}-${++sessions}`
}
