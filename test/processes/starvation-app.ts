/** What `starvation.ts` attacks: answers that cost next to nothing, so that only slots and connections are scarce. */

import type { Application } from '../../protocol/contract/application.ts'

const BLOCK = Buffer.alloc(64 * 1024, 'x')
const BLOCKS = 320

export const application: Application = async (environ, startResponse) => {
  if (environ.PATH_INFO === '/big') {
    startResponse('200 OK', [['Content-Length', String(BLOCKS * BLOCK.length)]])
    return (async function* () {
      for (let at = 0; at < BLOCKS; at++) yield BLOCK
    })()
  }
  const body = environ.REQUEST_METHOD === 'POST' ? await environ['wsgi.input'].read() : Buffer.from('Hello world!\n')
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [body]
}
