import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { withInterfaceHint } from '../../../container/application/interface-hint.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import { RecordingLog } from '../../support/log.ts'

/** The log line about one failed request. */
async function failureOf(given: unknown): Promise<{ status: number; message: string }> {
  const log = new RecordingLog()
  const { status } = await call(withInterfaceHint(given as Application, 'app.js'), { log })
  const err = log.lines.map((line) => (line.fields as { err?: Error }).err).find((one) => one !== undefined)
  return { status, message: err?.message ?? '' }
}

describe('a function that is treated as a WSGI application', () => {
  for (const [title, given, says] of [
    ['a listener that responds', (_q: unknown, s: { end(t: string): void }) => s.end('x'), /end is not a function/],
    [
      'a listener that looks at its request first',
      (req: { headers: Record<string, string> }, _res: unknown) => req.headers['host'],
      /reading 'host'/,
    ],
    ['a listener that responds later', async (_q: unknown, _s: unknown) => {}, /returned nothing/],
    [
      'an async listener',
      async (_q: unknown, s: { writeHead(code: number): void }) => s.writeHead(200),
      /writeHead is not a function/,
    ],
  ] as const) {
    it(`${title} fails with a hint at --interface node`, async () => {
      const { status, message } = await failureOf(given)
      assert.equal(status, 500)
      assert.match(message, says)
      assert.match(message, /\(if app\.js exports a listener of \(req, res\), use --interface node\)$/)
    })
  }

  for (const [title, given] of [
    ['a fetch handler', () => new Response('x')],
    ['an async fetch handler', async () => new Response('x')],
    ['a fetch handler that names its request', (_request: Request) => new Response('x')],
    ['a handler that reads its request first', (request: Request) => request.headers.get('x')],
  ] as const) {
    it(`${title} fails with a hint at --interface fetch`, async () => {
      const { message } = await failureOf(given)
      assert.match(message, /\(if app\.js exports a fetch handler, use --interface fetch\)$/)
      assert.equal(message.split('--interface').length, 2, 'the hint appears once')
    })
  }

  for (const [title, given] of [
    [
      'throws',
      () => {
        throw new Error('its own')
      },
    ],
    ['rejects', async () => Promise.reject(new Error('its own'))],
    [
      'throws after it has begun',
      (_environ: unknown, startResponse: (status: string, headers: []) => void) => {
        startResponse('200 OK', [])
        throw new Error('its own')
      },
    ],
  ] as const) {
    it(`an application that ${title} fails with its own message only`, async () => {
      assert.equal((await failureOf(given)).message, 'its own')
    })
  }

  it('is called directly after its first response', async () => {
    const seen: unknown[] = []
    const application: Application = (_environ, startResponse) => {
      seen.push(Object.getOwnPropertyNames(startResponse).includes('writeHead'))
      startResponse('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from('hello')]
    }
    const watched = withInterfaceHint(application, 'app.js')
    for (let count = 0; count < 2; count++) assert.equal((await call(watched)).text, 'hello')
    assert.deepEqual(seen, [true, false])
  })

  it('may call startResponse when its body is iterated', async () => {
    const application: Application = async function* (_environ: unknown, startResponse: (s: string, h: []) => void) {
      startResponse('200 OK', [])
      yield Buffer.from('hello')
    } as unknown as Application
    assert.equal((await call(withInterfaceHint(application, 'app.js'))).text, 'hello')
  })
})
