/**
 * What an application fails with, whenever it does: as it is called, by its promise, while its body is iterated. It changes nothing, and does
 * not know what is done about it.
 */

import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'

/**
 * Calls `application`, whose failures go on to whoever called.
 *
 * @param failed told of each first
 * @throws what the application throws
 */
export function watched(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
  failed: (error: unknown) => void,
): Body | Promise<Body> {
  try {
    const body = application(environ, startResponse)
    if (typeof (body as Promise<Body>)?.then !== 'function') return watchedBody(body as Body, failed)
    return (body as Promise<Body>).then(
      (late) => watchedBody(late, failed),
      (error: unknown) => {
        failed(error)
        throw error
      },
    )
  } catch (error) {
    failed(error)
    throw error
  }
}

/** An array has none. */
function watchedBody(body: Body, fail: (error: unknown) => void): Body {
  if (Array.isArray(body) || typeof body !== 'object' || body === null) return body
  const close = typeof body.close === 'function' ? { close: () => body.close?.() } : undefined
  if (Symbol.asyncIterator in body) {
    return { [Symbol.asyncIterator]: () => asynchronous(body[Symbol.asyncIterator](), fail), ...close }
  }
  if (Symbol.iterator in body) return { [Symbol.iterator]: () => synchronous(body[Symbol.iterator](), fail), ...close }
  return body
}

function asynchronous(iterator: AsyncIterator<Uint8Array>, fail: (error: unknown) => void): AsyncIterator<Uint8Array> {
  return {
    next: () =>
      iterator.next().catch((error: unknown) => {
        fail(error)
        throw error
      }),
    ...(iterator.return ? { return: () => iterator.return!() } : {}),
  }
}

function synchronous(iterator: Iterator<Uint8Array>, fail: (error: unknown) => void): Iterator<Uint8Array> {
  return {
    next() {
      try {
        return iterator.next()
      } catch (error) {
        fail(error)
        throw error
      }
    },
    ...(iterator.return ? { return: () => iterator.return!() } : {}),
  }
}
