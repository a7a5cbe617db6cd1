/**
 * For bench/parts/cache.ts: a bare hello, the same from the cache, and the same with a response that may not be stored.
 */

import { cache } from '../../middleware/cache/cache.ts'
import type { Application, Headers } from '../../protocol/contract/application.ts'

const BODY = Buffer.from('Hello world!\n')

function hello(...more: Headers): Application {
  return (_environ, startResponse) => {
    startResponse('200 OK', [['Content-Type', 'text/plain'], ...more])
    return [BODY]
  }
}

export const bare: Application = hello()
export const hit: Application = cache()(hello(['Cache-Control', 'max-age=86400'], ['ETag', '"1"']))
export const passed: Application = cache()(hello(['Cache-Control', 'private']))
