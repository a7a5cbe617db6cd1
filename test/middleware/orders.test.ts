/** Pairs of middleware whose order matters: whichever stands outside, nobody gets what is not his, nor bytes under another's fields. */

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

/** Names a file as frameworks do: with a body of its own that stands for it. */
const naming: Application = (_, start) => {
  start('200 OK', [
    ['Content-Type', 'text/html'],
    ['X-Sendfile', 'page.html'],
  ])
  return [Buffer.from('see X-Sendfile')].values()
}

for (const place of places) {
  describe(`what stands before a file that is named ${place.name}`, () => {
    it('has no part in how the file is sent', () =>
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

  describe(`a cache behind what asks for a password ${place.name}`, () => {
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
      it(`gives each what was made for him: ${fields.join('; ')}`, async () => {
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

  describe(`a cache before what asks for a password ${place.name}`, () => {
    it('gives no file to who did not say the password', () =>
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

describe('a cache between what fails and the pages of a site', () => {
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
    it(`leaves ${name} to them, with its fields, and tells of it once`, async () => {
      const log = new RecordingLog()
      const outer = errorPage({ pages: { '4xx': sitePage, '5xx': sitePage }, log })
      const result = await call(outer(cache({ log })(application)), { headers: ada })
      assert.deepEqual([result.status, result.text], [status, 'the page of the site'])
      assert.ok(result.header(field))
      assert.equal(log.lines.length, 1)
    })
  }
})
