/** Checks `wsgi.input`: the arguments and the results of its reads, which are passed on unchanged. */

import type { Headers, Input } from '../application.ts'
import type { RequestInput } from '../input.ts'
import { guardedProxy } from './guarded-proxy.ts'
import { type Fail, show } from './rules.ts'

/** The state of a call that the guard of its input reads. */
interface InputState {
  /** The server has closed the body. */
  readonly closed: boolean
  /** The request was aborted: a failure after that breaks no rule. */
  readonly aborted: boolean
}

/** Members that Gantry uses beyond the contract, so that copying a body needs no promise for each chunk. */
const OWN: ReadonlySet<string> = new Set(['buffered', 'ended', 'hasBody', 'trailerFields'])

const LF = 0x0a

/** The checks of one method that reads. */
interface Read<T> {
  readonly name: string
  /** Whether a result has the right type. */
  is(value: T): boolean
  bytes(value: T): number
  /** Describes what is wrong with a result of the right type for this size; undefined if it is correct. */
  wrong?(value: T, size: number): string | undefined
  /** Whether the result shows that the input has ended. */
  last(value: T, size: number): boolean
}

const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array
const byteLength = (value: Uint8Array): number => value.length
const tooMany = (value: Uint8Array, size: number): string | undefined =>
  value.length > size ? `${value.length} bytes` : undefined
const endsLine = (line: Uint8Array): boolean => line[line.length - 1] === LF

function notALine(line: Uint8Array, size: number): string | undefined {
  if (line.length > size) return `${line.length} bytes`
  const feed = line.indexOf(LF)
  return feed !== -1 && feed < line.length - 1 ? `${line.length} bytes, with a line feed at ${feed}` : undefined
}

const reads: {
  readonly read: Read<Uint8Array>
  readonly read1: Read<Uint8Array>
  readonly readline: Read<Uint8Array>
  readonly readlines: Read<Uint8Array[]>
  readonly next: Read<IteratorResult<Uint8Array>>
} = {
  read: {
    name: 'read',
    is: isBytes,
    bytes: byteLength,
    wrong: tooMany,
    last: (value, size) => value.length < size,
  },
  read1: {
    name: 'read1',
    is: isBytes,
    bytes: byteLength,
    wrong: tooMany,
    last: (value, size) => value.length === 0 && size > 0,
  },
  readline: {
    name: 'readline',
    is: isBytes,
    bytes: byteLength,
    wrong: notALine,
    last: (value, size) => value.length < size && !endsLine(value),
  },
  readlines: {
    name: 'readlines',
    is: (lines) => Array.isArray(lines) && lines.every(isBytes),
    bytes: (lines) => lines.reduce((sum, line) => sum + line.length, 0),
    wrong: (lines) => {
      for (const line of lines) {
        const why = notALine(line, Number.POSITIVE_INFINITY)
        if (why) return why
      }
      return undefined
    },
    // The size is a hint: the result has fewer bytes only at the end of the input. Without a hint it has all lines.
    last: (lines, size) => lines.reduce((sum, line) => sum + line.length, 0) < size,
  },
  next: {
    name: 'next',
    is: (result) => result.done === true || (isBytes(result.value) && result.value.length > 0),
    bytes: (result) => (result.done === true ? 0 : result.value.length),
    last: (result) => result.done === true,
  },
}

/** @param length CONTENT_LENGTH; -1 if the client sent none */
export function guardInput(input: Input, length: number, call: InputState, fail: Fail): Input {
  let reading = false
  let atEnd = false
  let total = 0

  function got(name: string, bytes: number, last: boolean): void {
    total += bytes
    if (atEnd && bytes > 0) fail('INPUT_AFTER_END', `${name}() returned ${bytes} bytes`)
    if (length !== -1 && total > length) {
      fail('INPUT_LENGTH', `${name}() returned byte ${total} of ${length}`)
    } else if (length !== -1 && last && total < length && !call.aborted) {
      fail('INPUT_LENGTH', `${name}() ended the input after ${total} bytes of ${length}`)
    }
    atEnd ||= last
  }

  async function read<T>(kind: Read<T>, args: readonly unknown[], answer: () => Promise<T>): Promise<T> {
    const { name } = kind
    const [size] = args
    if (args.length > 1) fail('READ_ARGUMENTS', `${name}(${args.map(show).join(', ')})`)
    if (size !== undefined && !Number.isInteger(size)) fail('READ_SIZE', `${name}(${show(size)})`)
    if (call.closed && !call.aborted) fail('READ_AFTER_CLOSE', `${name}()`)
    if (reading) fail('READ_WHILE_READING', `${name}()`)
    reading = true
    try {
      const promise = answer()
      if (typeof (promise as { then?: unknown } | null)?.then !== 'function') {
        fail('INPUT_RESULT', `${name}() returned ${show(promise)}`)
      }
      const value = await promise
      const asked = `${name}(${size === undefined ? '' : show(size)})`
      if (!kind.is(value)) {
        fail('INPUT_RESULT', `${asked} returned ${show(value)}`)
        return value
      }
      const bound = typeof size === 'number' && size >= 0 ? size : Number.POSITIVE_INFINITY
      const wrong = kind.wrong?.(value, bound)
      if (wrong) fail('INPUT_RESULT', `${asked} returned ${wrong}`)
      got(name, kind.bytes(value), kind.last(value, bound))
      return value
    } finally {
      reading = false
    }
  }

  const one =
    <T>(kind: Read<T>) =>
    (...args: unknown[]) =>
      read(kind, args, () => (input[kind.name as 'read'] as (...given: unknown[]) => Promise<never>).apply(input, args))

  const { readNow, readAhead } = input as Partial<RequestInput>
  return guardedProxy(
    input,
    {
      read: one(reads.read),
      read1: one(reads.read1),
      readline: one(reads.readline),
      readlines: one(reads.readlines),
      [Symbol.asyncIterator]: () => {
        const iterator = input[Symbol.asyncIterator]()
        return {
          next: () => read(reads.next, [], () => iterator.next()),
          ...(iterator.return ? { return: (value?: unknown) => iterator.return!(value) } : {}),
        }
      },
      get trailers() {
        return guardTrailers(input, fail)
      },
      // Gantry's own reads without promises: their bytes are counted too.
      ...(readNow && {
        readNow: (max: number) => {
          const chunk = readNow.call(input, max)
          if (chunk !== undefined) got('readNow', chunk?.length ?? 0, chunk === null)
          return chunk
        },
      }),
      ...(readAhead && {
        readAhead: (...given: Parameters<typeof readAhead>) => {
          const chunk = readAhead.apply(input, given)
          // A body that is too short is reported by the application's own read.
          if (chunk) got('readAhead', chunk.length, false)
          return chunk
        },
      }),
    },
    (name) => {
      if (!OWN.has(name)) fail('STREAM_MEMBERS', `wsgi.input.${name} was used`)
    },
  )
}

function guardTrailers(input: Input, fail: Fail): Promise<Headers> {
  const { trailers } = input
  if (typeof trailers?.then !== 'function') fail('INPUT_TRAILERS', `trailers is ${show(trailers)}`)
  const checked = trailers.then((fields: Headers) => {
    if (!Array.isArray(fields) || !fields.every((pair) => Array.isArray(pair) && pair.length === 2)) {
      fail('INPUT_TRAILERS', `trailers resolved to ${show(fields)}`)
    }
    return fields
  })
  // As with the real input: a promise that is not awaited causes no unhandled rejection.
  checked.catch(() => {})
  return checked
}
