/**
 * Pairs of middleware whose order matters: in either order no client gets another client's response, or bytes with
 * other fields.
 */

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { basicAuth } from '../../middleware/auth/basic-auth.ts'
import { cache } from '../../middleware/cache/cache.ts'
import { compress } from '../../middleware/compress/compress.ts'
import { errorPage } from '../../middleware/error-page/error-page.ts'
import { conditional } from '../../middleware/conditional/conditional.ts'
import { sendFile } from '../../middleware/static/send-file.ts'
import { staticFiles } from '../../middleware/static/static-files.ts'
import type { Application, Headers } from '../../protocol/contract/application.ts'
import { call } from '../../protocol/contract/call.ts'
import { HttpError } from '../../protocol/contract/errors.ts'
import { withDirectory } from '../support/directory.ts'
import { RecordingLog } from '../support/log.ts'
import { places } from '../support/places.ts'

const page = 'a line of a page\n'.repeat(200)
const ada = { Authorization: `Basic ${Buffer.from('ada:right').toString('base64')}` }

/** Names a file as frameworks do: with a body of its own that stands for the file. */
const naming: Application = (_, start) => {
  start('200 OK', [
    ['Content-Type', 'text/html'],
    ['X-Sendfile', 'page.html'],
  ])
  return [Buffer.from('see X-Sendfile')].values()
}

for (const place of places) {
  describe(`middleware outside of a response that names a file ${place.name}`, () => {
    it('does not change how the file is sent', () =>
      withDirectory(async (root) => {
        await writeFile(join(root, 'page.html'), page)
        const files = sendFile({ root })
        for (const inner of [compress({ threshold: 0 }), conditional()]) {
          await using placed = await place.put((application) => files(inner(application)), naming)
          const result = await call(placed.application, { headers: { 'Accept-Encoding': 'br' } })
          assert.equal(result.text, page)
          assert.equal(result.header('content-encoding'), undefined)
          assert.match(result.header('etag') ?? '', /^(?:W\/)?"[0-9a-f]+-[0-9a-f]+"$/)
        }
      }))
  })

  describe(`a cache inside of basicAuth ${place.name}`, () => {
    const guard = basicAuth({ verify: () => true })
    const say = (user: string): { headers: Record<string, string> } => ({
      headers: { Authorization: `Basic ${Buffer.from(`${user}:any`).toString('base64')}` },
    })

    for (const fields of [
      [
        ['Cache-Control', 'max-age=60, must-revalidate'],
        ['Vary', 'Authorization'],
      ],
      [['Cache-Control', 'max-age=60']],
    ] as Headers[]) {
      it(`gives each user the response for that user: ${fields.join('; ')}`, async () => {
        const personal: Application = (environ, start) => {
          start('200 OK', [['Content-Type', 'text/plain'], ...fields])
          return [Buffer.from(`for ${environ['REMOTE_USER']}`)]
        }
        const store = cache()
        await using placed = await place.put((application) => guard(store(application)), personal)
        for (const user of ['ada', 'bob', '', 'ada']) {
          assert.equal((await call(placed.application, say(user))).text, `for ${user}`)
        }
      })
    }
  })

  describe(`a cache outside of basicAuth ${place.name}`, () => {
    it('gives no file to a client without the password', () =>
      withDirectory(async (root) => {
        await writeFile(join(root, 'page.html'), page)
        const guard = basicAuth({ verify: (user, password) => user === 'ada' && password === 'right' })
        const store = cache()
        await using placed = await place.put(
          (application) => store(guard(application)),
          staticFiles(root, { maxAge: 3600 }),
        )
        for (const [headers, status] of [
          [ada, 200],
          [{}, 401],
          [ada, 200],
        ] as const) {
          assert.equal((await call(placed.application, { path: '/page.html', headers })).status, status)
        }
      }))
  })
}

describe('a cache between a failing application and errorPage', () => {
  const sitePage: Application = (_, start) => {
    start('200 OK', [['Content-Type', 'text/html']])
    return [Buffer.from('the page of the site')]
  }
  const late: Application = (_, start) => ({
    [Symbol.iterator]: () => ({
      next() {
        start('200 OK', [['Content-Type', 'text/plain']])
        throw new HttpError(503, 'LATE', 'at its first iteration', { headers: [['Retry-After', '7']] })
      },
    }),
  })
  for (const [name, application, status, field] of [
    ['an HttpError that is thrown', basicAuth({ verify: () => false })(naming), 401, 'www-authenticate'],
    ['one that comes with the first chunk', late, 503, 'retry-after'],
  ] as const) {
    it(`passes ${name} on with its fields, and logs it once`, async () => {
      const log = new RecordingLog()
      const outer = errorPage({ pages: { '4xx': sitePage, '5xx': sitePage }, log })
      const result = await call(outer(cache({ log })(application)), { headers: ada })
      assert.deepEqual([result.status, result.text], [status, 'the page of the site'])
      assert.ok(result.header(field))
      assert.equal(log.lines.length, 1)
    })
  }
})
