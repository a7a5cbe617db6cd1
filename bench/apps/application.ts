/** The application under measurement: small, large and endless bodies, a sink, and requests that hold or stall. */

import type { Application, Headers } from '../../protocol/contract/application.ts'

const bodies: Record<string, Buffer> = {
  '/': Buffer.from('Hello world!\n'),
  '/10KiB': Buffer.alloc(10 * 1024, 'x'),
  '/1MiB': Buffer.alloc(1024 * 1024, 'x'),
}
const chunk = Buffer.alloc(64 * 1024, 'x')
const aborted = new Map<string, bigint>()

const text = (length: number): Headers => [
  ['Content-Type', 'text/plain'],
  ['Content-Length', String(length)],
]

const others: Application = async (environ, startResponse) => {
  const path = environ.PATH_INFO
  if (path.startsWith('/bytes/')) {
    const total = Number(path.slice(7))
    startResponse('200 OK', text(total))
    return stream(total)
  }
  if (path === '/sink') {
    let total = 0
    for await (const part of environ['wsgi.input']) total += part.length
    const answer = Buffer.from(`${total}\n`)
    startResponse('200 OK', text(answer.length))
    return [answer]
  }
  if (path.startsWith('/hold/')) {
    const { signal } = environ.gantry
    signal.addEventListener('abort', () => aborted.set(path.slice(6), process.hrtime.bigint()))
    await startResponse('200 OK', [['Content-Type', 'text/plain']])(Buffer.from('held\n'))
    await ended(signal)
    return []
  }
  if (path.startsWith('/aborted/')) {
    const answer = Buffer.from(String(aborted.get(path.slice(9)) ?? ''))
    startResponse('200 OK', text(answer.length))
    return [answer]
  }
  if (path === '/stall') {
    await ended(environ.gantry.signal)
    return []
  }
  startResponse('404 Not Found', text(0))
  return []
}

/** Most rounds ask for what is there at once: no promise where none is needed. */
export const application: Application = (environ, startResponse) => {
  const body = environ.REQUEST_METHOD === 'GET' ? bodies[environ.PATH_INFO] : undefined
  if (body === undefined) return others(environ, startResponse)
  startResponse('200 OK', text(body.length))
  return [body]
}

function* stream(total: number): Generator<Uint8Array> {
  for (let left = total; left > 0; left -= chunk.length) yield left < chunk.length ? chunk.subarray(0, left) : chunk
}

function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve()))
}
