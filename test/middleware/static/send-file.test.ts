import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { type SendFileOptions, sendFile } from '../../../middleware/static/send-file.ts'
import type { Application, Headers } from '../../../protocol/contract/application.ts'
import { type CallRequest, type CallResult, call } from '../../../protocol/contract/call.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { openBelow, withDirectory } from '../../support/directory.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'

const BIG = Buffer.alloc(150_000, 'abcdefg')
const MODIFIED = new Date('2024-03-01T12:00:00Z')

function furnish(folder: string): string {
  const root = join(folder, 'files')
  mkdirSync(join(root, 'sub'), { recursive: true })
  for (const [name, content] of Object.entries({
    'a b.txt': 'hello file',
    'sub/big.bin': BIG,
    '100%.txt': 'percent',
  })) {
    writeFileSync(join(root, name), content)
    utimesSync(join(root, name), MODIFIED, MODIFIED)
  }
  writeFileSync(join(folder, 'secret'), 'SECRET')
  symlinkSync('../secret', join(root, 'link'))
  return root
}

/** Names a file; counts how often its own body is read and closed. */
function naming(
  fields: Headers,
  status = '200 OK',
): { application: Application; read: number; closed: number; environ: Record<string, unknown> } {
  const counts = {
    read: 0,
    closed: 0,
    environ: {} as Record<string, unknown>,
    application: ((environ, start) => {
      counts.environ = { ...environ }
      start(status, [['Content-Type', 'application/x-own'], ...fields])
      return {
        *[Symbol.iterator]() {
          counts.read++
          yield Buffer.from('own body')
        },
        close: () => void counts.closed++,
      }
    }) satisfies Application,
  }
  return counts
}

async function withFiles(use: (root: string, folder: string) => Promise<void>): Promise<void> {
  await withDirectory(async (folder) => {
    await use(furnish(folder), folder)
    assert.deepEqual(openBelow(folder), [], 'a descriptor was left open')
  })
}

for (const place of places) {
  describe(`sendFile, ${place.name}`, () => {
    it("sends the named file with the application's fields, and closes its body unread", () =>
      withFiles(async (root) => {
        const app = naming([
          ['X-Sendfile', join(root, 'sub/big.bin')],
          ['Content-Disposition', 'attachment; filename=x'],
          ['Set-Cookie', 'a=b'],
          ['Cache-Control', 'private'],
          ['Content-Length', '8'],
        ])
        {
          await using placed = await place.put(sendFile({ root, log: new RecordingLog() }), app.application)
          const result = await call(placed.application)
          assert.equal(result.status, 200)
          assert.ok(result.body.equals(BIG))
          assert.equal(result.header('X-Sendfile'), undefined)
          assert.equal(result.header('Content-Type'), 'application/x-own')
          assert.equal(result.header('Content-Disposition'), 'attachment; filename=x')
          assert.equal(result.header('Set-Cookie'), 'a=b')
          assert.equal(result.header('Cache-Control'), 'private')
          assert.equal(result.header('Content-Length'), String(BIG.length))
          assert.equal(result.header('Last-Modified'), MODIFIED.toUTCString())
          const part = await call(placed.application, { headers: { Range: 'bytes=1-3' } })
          assert.equal(part.status, 206)
          assert.equal(part.text, 'bcd')
          const unchanged = await call(placed.application, { headers: { 'If-None-Match': result.header('ETag')! } })
          assert.equal(unchanged.status, 304)
          assert.equal(unchanged.header('Set-Cookie'), 'a=b')
          const head = await call(placed.application, { method: 'HEAD' })
          assert.equal(head.header('Content-Length'), String(BIG.length))
        }
        assert.equal(app.closed, 4)
      }))

    it('passes a response that names no file', () =>
      withFiles(async (root) => {
        const app = naming([])
        await using placed = await place.put(sendFile({ root }), app.application)
        assert.equal((await call(placed.application)).text, 'own body')
      }))
  })
}

describe('sendFile', () => {
  const log = new RecordingLog()
  const answer = (
    options: SendFileOptions,
    app: { application: Application },
    request?: CallRequest,
  ): Promise<CallResult> => call(lint(sendFile({ log, ...options })(lint(app.application))), request)

  it('accepts a path below its root, percent-encoded as for nginx and Apache', () =>
    withFiles(async (root) => {
      for (const path of ['a%20b.txt', 'a b.txt', `${root}/a%20b.txt`])
        assert.equal((await answer({ root }, naming([['X-Sendfile', path]]))).text, 'hello file', path)
      assert.equal((await answer({ root }, naming([['X-Sendfile', '100%.txt']]))).text, 'percent')
    }))

  it('uses the longest prefix of X-Accel-Redirect, and ignores a query', () =>
    withFiles(async (root) => {
      const accel = { '/protected/': root, '/protected/deep/': join(root, 'sub') }
      const named = (uri: string): Promise<CallResult> => answer({ accel }, naming([['X-Accel-Redirect', uri]]))
      assert.equal((await named('/protected/a%20b.txt?x=1')).text, 'hello file')
      assert.ok((await named('/protected/deep/big.bin')).body.equals(BIG))
      assert.equal((await named('/protected/a%20b.txt')).header('X-Accel-Redirect'), undefined)
      assert.equal((await named('/other/a.txt')).status, 500)
      assert.equal((await named('@named')).status, 500)
    }))

  it('sends no file outside its folders, and logs a warning', () =>
    withFiles(async (root, folder) => {
      const refused = async (fields: Headers, status: number): Promise<void> => {
        log.lines.length = 0
        const app = naming(fields)
        const result = await answer({ root, accel: { '/p/': root } }, app)
        assert.equal(result.status, status, JSON.stringify(fields))
        assert.doesNotMatch(result.text, /SECRET|own body/)
        assert.equal(result.header('X-Sendfile') ?? result.header('X-Accel-Redirect'), undefined)
        assert.equal(app.closed, 1)
        assert.equal(log.lines.length, 1)
        assert.ok(log.lines[0]!.fields['requestId'])
      }
      await refused([['X-Sendfile', join(folder, 'secret')]], 500)
      await refused([['X-Sendfile', '/etc/passwd']], 500)
      await refused([['X-Sendfile', '../secret']], 500)
      await refused([['X-Sendfile', `${root}/../secret`]], 500)
      await refused([['X-Sendfile', `${root}/%2e%2e/secret`]], 500)
      await refused([['X-Sendfile', `${root}-twin/x`]], 500)
      await refused([['X-Accel-Redirect', '/p/../secret']], 500)
      await refused([['X-Sendfile', join(root, 'link')]], 404)
      await refused([['X-Sendfile', join(root, 'missing')]], 404)
      await refused([['X-Sendfile', join(root, 'sub')]], 404)
      await refused([['X-Sendfile', root]], 500)
    }))

  it('ignores a field for which it has no folder', () =>
    withFiles(async (root) => {
      const result = await answer({ root }, naming([['X-Accel-Redirect', '/p/a']]))
      assert.equal(result.text, 'own body')
      assert.equal(result.header('X-Accel-Redirect'), '/p/a')
    }))

  it("keeps the application's ETag, and uses it for conditions", () =>
    withFiles(async (root) => {
      const app = naming([
        ['X-Sendfile', 'a b.txt'],
        ['ETag', '"own"'],
      ])
      assert.equal((await answer({ root }, app)).header('ETag'), '"own"')
      assert.equal((await answer({ root }, app, { headers: { 'If-None-Match': '"own"' } })).status, 304)
    }))

  it("sends the whole file with the application's status, unless it is a 200 to a GET", () =>
    withFiles(async (root) => {
      const headers = { Range: 'bytes=0-1', 'If-None-Match': '*' }
      const missing = await answer({ root }, naming([['X-Sendfile', 'a b.txt']], '404 Not Found'), { headers })
      assert.equal(missing.status, 404)
      assert.equal(missing.text, 'hello file')
      const posted = await answer({ root }, naming([['X-Sendfile', 'a b.txt']]), { method: 'POST', headers })
      assert.equal(posted.status, 200)
      assert.equal(posted.text, 'hello file')
    }))

  it('removes the fields of clients about sending files', () =>
    withFiles(async (root) => {
      const app = naming([])
      await answer({ root }, app, { headers: { 'X-Sendfile-Type': 'X-Accel-Redirect', 'X-Accel-Mapping': '/=/' } })
      assert.equal(app.environ['HTTP_X_SENDFILE_TYPE'], undefined)
      assert.equal(app.environ['HTTP_X_ACCEL_MAPPING'], undefined)
    }))

  it('closes the file when the client disconnects during the open', () =>
    withFiles(async (root) => {
      const leaving = new AbortController()
      const application: Application = (_, start) => {
        start('200 OK', [
          ['Content-Type', 'text/plain'],
          ['X-Sendfile', 'sub/big.bin'],
        ])
        queueMicrotask(() => leaving.abort())
        return []
      }
      const { status, aborted } = await answer({ root }, { application }, { signal: leaving.signal })
      assert.equal(status, 0)
      assert.equal(aborted?.code, 'CLIENT_GONE')
    }))

  it('refuses options without a folder', () =>
    withFiles(async (root) => {
      assert.throws(() => sendFile({}), /expected root or accel, got neither/)
      assert.throws(() => sendFile(), /expected root or accel, got neither/)
      assert.throws(() => sendFile({ root: join(root, 'none') }), /is not a folder/)
      assert.throws(() => sendFile({ accel: { '/p': root } }), /expected one that begins and ends with "\/"/)
    }))
})
