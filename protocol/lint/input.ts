/**
 * `wsgi.input`, `wsgi.errors` and `environ.gantry` seen through glass: whatever a caller asks for is passed on to the real
 * one, and both what is asked and what is answered are checked. Proxies rather than look-alikes, so that what Gantry's own
 * parts find there beyond the contract (`readNow`, `instanceof`) stays true.
 */

import type { Environ, ErrorStream, Headers, Input, RequestContext } from '../application.ts'
import { checkFields, checkTrailers } from './response.ts'
import { type Fail, show } from './rules.ts'

/** What the guards need to know of the call they belong to. */
export interface CallState {
  /** The server has closed the body. */
  readonly closed: boolean
  /** The request was aborted: what then fails is nobody's fault. */
  readonly aborted: boolean
  /** The last status given to startResponse; 0 before. */
  readonly code: number
  readonly upgrade: boolean
}

type Overrides = { readonly [key: string | symbol]: unknown }

function glass<T extends object>(target: T, overrides: Overrides): T {
  return new Proxy(target, {
    get(real, key) {
      if (Object.hasOwn(overrides, key)) {
        return overrides[key]
      }
      // With the real one as receiver: accessors and methods use private fields.
      const value = Reflect.get(real, key, real)
      return typeof value === 'function' ? value.bind(real) : value
    },
    set: (real, key, value) => Reflect.set(real, key, value, real),
  })
}

/** Wraps an input. */
export function guardInput(input: Input, call: CallState, fail: Fail): Input {
  let reading = false
  let short = false

  /** One read. `verify` gives the number of bytes, or -1 where it cannot tell whether the input came short. */
  async function read<T>(
    method: string,
    size: unknown,
    answer: () => Promise<T>,
    verify: (value: T) => boolean,
    length: (value: T) => number,
    exact: boolean,
  ): Promise<T> {
    if (size !== undefined && !Number.isInteger(size)) fail('READ_SIZE', `${method}(${show(size)})`)
    if (call.closed && !call.aborted) fail('READ_AFTER_CLOSE', `${method}()`)
    if (reading) fail('READ_WHILE_READING', `${method}()`)
    reading = true
    try {
      const promise = answer()
      if (typeof (promise as { then?: unknown } | null)?.then !== 'function') {
        fail('INPUT_RESULT', `${method}() gave ${show(promise)}`)
      }
      const value = await promise
      if (!verify(value)) {
        fail('INPUT_RESULT', `${method}(${size === undefined ? '' : show(size)}) gave ${show(value)}`)
        return value
      }
      const bytes = length(value)
      const bounded = typeof size === 'number' && size >= 0
      if (bounded && bytes > size && exact) fail('INPUT_RESULT', `${method}(${size}) gave ${bytes} bytes`)
      if (short && bytes > 0) fail('INPUT_AFTER_END', `${method}() gave ${bytes} bytes`)
      if (size !== 0) short ||= bytes === 0
      return value
    } finally {
      reading = false
    }
  }

  const one = (method: 'read' | 'read1' | 'readline') => (size?: number) =>
    read(method, size, () => (size === undefined ? input[method]() : input[method](size)), isBytes, byteLength, true)

  return glass(input, {
    read: one('read'),
    read1: one('read1'),
    readline: one('readline'),
    readlines: (hint?: number) =>
      read(
        'readlines',
        hint,
        () => (hint === undefined ? input.readlines() : input.readlines(hint)),
        (lines) => Array.isArray(lines) && lines.every(isBytes),
        (lines) => lines.reduce((sum, line) => sum + line.length, 0),
        false,
      ),
    [Symbol.asyncIterator]: () => {
      const iterator = input[Symbol.asyncIterator]()
      return {
        next: () =>
          read(
            'next',
            undefined,
            () => iterator.next(),
            (result) => result.done === true || (isBytes(result.value) && result.value.length > 0),
            (result) => (result.done === true ? 0 : result.value.length),
            false,
          ),
        ...(iterator.return ? { return: (value?: unknown) => iterator.return!(value) } : {}),
      }
    },
    get trailers() {
      const { trailers } = input
      if (typeof trailers?.then !== 'function') fail('INPUT_TRAILERS', `trailers is ${show(trailers)}`)
      const checked = trailers.then((fields: Headers) => {
        if (!Array.isArray(fields) || !fields.every((pair) => Array.isArray(pair) && pair.length === 2)) {
          fail('INPUT_TRAILERS', `trailers gave ${show(fields)}`)
        }
        return fields
      })
      // As with the real one: asking without awaiting is no unhandled rejection.
      checked.catch(() => {})
      return checked
    },
  })
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array
}

function byteLength(value: Uint8Array): number {
  return value.length
}

/** Wraps an error stream. */
export function guardErrors(errors: ErrorStream, fail: Fail): ErrorStream {
  return glass(errors, {
    write: (text: string) => {
      if (typeof text !== 'string') fail('ERRORS_TEXT', `write(${show(text)})`)
      errors.write(text)
    },
    writelines: (lines: Iterable<string>) => {
      const all = [...lines]
      for (const line of all) if (typeof line !== 'string') fail('ERRORS_TEXT', `writelines of ${show(line)}`)
      errors.writelines(all)
    },
  })
}

/** Wraps a request's context. */
export function guardContext(context: RequestContext, call: CallState, fail: Fail): RequestContext {
  return glass(context, {
    earlyHints: (headers: Headers) => {
      checkFields(headers, 0, fail)
      context.earlyHints(headers)
    },
    trailers: (fields: () => Headers | Promise<Headers>) => {
      if (typeof fields !== 'function') {
        fail('TRAILERS_FUNCTION', `got ${show(fields)}`)
        context.trailers(fields)
        return
      }
      context.trailers(() => {
        const given = fields()
        if (typeof (given as Promise<Headers>)?.then === 'function') {
          return (given as Promise<Headers>).then((late) => {
            checkTrailers(late, fail)
            return late
          })
        }
        checkTrailers(given, fail)
        return given
      })
    },
    upgrade: () => {
      if (call.code !== 101) fail('UPGRADE_ORDER', `the status is ${call.code || 'not given yet'}`)
      return context.upgrade()
    },
  })
}

/** Puts the guards into an environ, in place: it is the application's own from here on. */
export function guardEnviron(environ: Environ, call: CallState, fail: Fail): void {
  environ['wsgi.input'] = guardInput(environ['wsgi.input'], call, fail)
  environ['wsgi.errors'] = guardErrors(environ['wsgi.errors'], fail)
  environ.gantry = guardContext(environ.gantry, call, fail)
}
