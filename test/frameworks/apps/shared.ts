/** The shared parts of the frameworks' applications: data, notes that tests read, and streams. Knows no framework. */

import { Readable } from 'node:stream'

export const files: string = process.env['FILES'] ?? '.'

/** Fields that the proxy adds to requests: omitted where fields are listed; another route lists them. */
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

/** A compressible text. */
export const text: string = Array.from({ length: 400 }, (_, at) => `line ${at}: the quick brown fox\n`).join('')

/** Notes by key, and the waits for them. */
const notes: Map<string, string[]> = new Map()
const waiting: Set<() => void> = new Set()

export function note(key: string, event: string): void {
  const list = notes.get(key) ?? []
  list.push(event)
  notes.set(key, list)
  for (const wake of waiting) wake()
}

/** Resolves when there are `count` notes. */
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

/** One chunk, and the next one only after a request to `/release`: a server that buffers never sends the first. */
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

/** Sends until its reader disconnects, and records that. */
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

/** One chunk, and then an error after the chunk was sent. */
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

/** Repeated fields, and one hundred others. */
export function manyFields(): [string, string][] {
  return Array.from({ length: 100 }, (_, at) => [`X-Field-${at}`, `value ${at}`])
}

let sessions = 0

/** The same in each process. */
export function sessionId(): string {
  return `session-${'0'.repeat(32)}-${++sessions}`
}
