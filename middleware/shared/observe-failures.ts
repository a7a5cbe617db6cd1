/**
 * Reports what an application fails with, at whatever point: when it is called, by its promise, or while its body is
 * iterated. The response is not changed; the caller decides what a failure means.
 */

import type { Application, Body, Environ, StartResponse } from '../../protocol/contract/application.ts'

/**
 * Calls `application` and passes each failure to `onFailure` before the caller gets it.
 *
 * @throws whatever the application throws
 */
export function observeFailures(
  application: Application,
  environ: Environ,
  startResponse: StartResponse,
  onFailure: (error: unknown) => void,
): Body | Promise<Body> {
  try {
    const body = application(environ, startResponse)
    if (typeof (body as Promise<Body>)?.then !== 'function') return observedBody(body as Body, onFailure)
    return (body as Promise<Body>).then(
      (late) => observedBody(late, onFailure),
      (error: unknown) => {
        onFailure(error)
        throw error
      },
    )
  } catch (error) {
    onFailure(error)
    throw error
  }
}

/** An array cannot fail, and is returned as it is. */
function observedBody(body: Body, onFailure: (error: unknown) => void): Body {
  if (Array.isArray(body) || typeof body !== 'object' || body === null) return body
  const close = typeof body.close === 'function' ? { close: () => body.close?.() } : undefined
  if (Symbol.asyncIterator in body) {
    return { [Symbol.asyncIterator]: () => observedAsync(body[Symbol.asyncIterator](), onFailure), ...close }
  }
  if (Symbol.iterator in body) {
    return { [Symbol.iterator]: () => observedSync(body[Symbol.iterator](), onFailure), ...close }
  }
  return body
}

function observedAsync(
  iterator: AsyncIterator<Uint8Array>,
  onFailure: (error: unknown) => void,
): AsyncIterator<Uint8Array> {
  return {
    next: () =>
      iterator.next().catch((error: unknown) => {
        onFailure(error)
        throw error
      }),
    ...(iterator.return ? { return: () => iterator.return!() } : {}),
  }
}

function observedSync(iterator: Iterator<Uint8Array>, onFailure: (error: unknown) => void): Iterator<Uint8Array> {
  return {
    next() {
      try {
        return iterator.next()
      } catch (error) {
        onFailure(error)
        throw error
      }
    },
    ...(iterator.return ? { return: () => iterator.return!() } : {}),
  }
}
