/**
 * A server that is small enough to be correct by inspection: calls an application, collects its whole response in
 * memory, and closes its body. For tests of lint and middleware that need no wire.
 */

import type { Application, Environ, Headers } from '../../protocol/contract/application.ts'
import { environFromHttp } from '../../protocol/contract/environ.ts'
import { RequestInput } from '../../protocol/contract/input.ts'

export interface CallOptions {
  method?: string
  target?: string
  headers?: string[]
  body?: Uint8Array | string
  upgrade?: boolean
  scheme?: 'http' | 'https'
}

export interface Called {
  status: string
  headers: Headers
  body: Buffer
  chunks: Uint8Array[]
}

/** An environ as the HTTP gateway creates it. */
export function makeEnviron(options: CallOptions = {}): Environ {
  const { method = 'GET', target = '/', headers = ['Host', 'example.org'], upgrade = false, scheme = 'http' } = options
  const facts = { remoteAddress: '127.0.0.1', remotePort: '40000', serverName: '127.0.0.1', serverPort: '80', scheme }
  const environ = environFromHttp({ method, target, minor: 1, headers, upgrade }, facts, {
    multithread: true,
    multiprocess: false,
    runOnce: false,
  })
  if (options.body !== undefined) {
    const input = new RequestInput({ wanted() {}, consumed() {} })
    input.push(Buffer.from(options.body as string))
    input.end()
    environ['wsgi.input'] = input
  }
  return environ
}

/** Calls `application` once, and closes its body. Errors of the application are rethrown after close(). */
export async function call(application: Application, options: CallOptions | Environ = {}): Promise<Called> {
  const environ = 'wsgi.version' in options ? options : makeEnviron(options)
  const called: Called = { status: '', headers: [], body: Buffer.alloc(0), chunks: [] }
  let sent = false
  const body = await application(environ, (status, headers, excInfo) => {
    if (excInfo && sent) throw excInfo
    called.status = status
    called.headers = headers
    return async (chunk) => {
      sent = true
      called.chunks.push(chunk)
    }
  })
  try {
    for await (const chunk of body) {
      if (chunk.length > 0) sent = true
      called.chunks.push(chunk)
    }
  } finally {
    await body.close?.()
  }
  called.body = Buffer.concat(called.chunks)
  return called
}
