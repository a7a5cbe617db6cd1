import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { type StaticFilesOptions, staticFiles } from '../../../middleware/static/static-files.ts'
import type { Application } from '../../../protocol/contract/application.ts'
import { type CallRequest, type CallResult, call } from '../../../protocol/contract/call.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { openBelow, withDirectory } from '../../support/directory.ts'
import { RecordingLog } from '../../support/log.ts'
import { places } from '../../support/places.ts'

const MODIFIED = new Date('2024-03-01T12:00:00.5Z')
const LAST_MODIFIED = 'Fri, 01 Mar 2024 12:00:00 GMT'
const BIG = Buffer.from(Array.from({ length: 200_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff))

/** A folder with files of the same modification time. */
function furnish(root: string): void {
  mkdirSync(join(root, 'dir'), { recursive: true })
  mkdirSync(join(root, 'empty'))
  mkdirSync(join(root, '.git'))
  mkdirSync(join(root, '.well-known'))
  const files: Record<string, string | Buffer> = {
    'index.html': '<h1>home</h1>',
    'dir/index.html': '<h1>dir</h1>',
    'a.txt': '0123456789',
    'app.js': 'plain',
    'app.js.br': 'as brotli',
    'app.js.gz': 'as gzip',
    'app.js.zst': 'as zstd',
    'photo.png': 'png',
    nothing: '',
    'grün.txt': 'green',
    '.env': 'SECRET',
    '.git/config': 'SECRET',
    '.well-known/security.txt': 'contact',
    'big.bin': BIG,
  }
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(root, name), content)
    utimesSync(join(root, name), MODIFIED, MODIFIED)
  }
}

type Get = (path: string, request?: Omit<CallRequest, 'path'>) => Promise<CallResult>

async function serving(options: StaticFilesOptions, use: (get: Get, root: string) => Promise<void>): Promise<void> {
  await withDirectory(async (root) => {
    furnish(root)
    const application = lint(staticFiles(root, options))
    await use((path, request) => call(application, { path, ...request }), root)
    assert.deepEqual(openBelow(root), [], 'a descriptor was left open')
  })
}

const fields = ({ headers }: CallResult): Record<string, string> => Object.fromEntries(headers)

describe('staticFiles', () => {
  it('answers GET with a file, its type, length and validators', () =>
    serving({}, async (get) => {
      const result = await get('/a.txt')
      assert.equal(result.status, 200)
      assert.equal(result.text, '0123456789')
      assert.deepEqual(fields(result), {
        'Content-Type': 'text/plain; charset=utf-8',
        'Content-Length': '10',
        'Last-Modified': LAST_MODIFIED,
        ETag: '"6129896fe3120-a"'.replace('6129896fe3120', (MODIFIED.getTime() * 1000).toString(16)),
        'Accept-Ranges': 'bytes',
      })
      assert.equal((await get('/a.txt?v=1')).status, 200)
      assert.ok((await get('/big.bin')).body.equals(BIG))
      assert.equal((await get('/nothing')).header('Content-Length'), '0')
      assert.equal((await get('/nothing')).header('Content-Type'), 'application/octet-stream')
    }))

  it('answers HEAD with the same head', () =>
    serving({}, async (get) => {
      for (const path of ['/a.txt', '/big.bin']) {
        const [whole, head] = [await get(path), await get(path, { method: 'HEAD' })]
        assert.deepEqual(head.headers, whole.headers)
        assert.equal(head.body.length, 0)
      }
      const ranged = await get('/a.txt', { method: 'HEAD', headers: { Range: 'bytes=0-1' } })
      assert.equal(ranged.status, 200)
    }))

  it('refuses other methods, and lists the allowed ones', () =>
    serving({}, async (get) => {
      const post = await get('/a.txt', { method: 'POST', body: 'x' })
      assert.equal(post.status, 405)
      assert.equal(post.header('Allow'), 'GET, HEAD, OPTIONS')
      const options = await get('/a.txt', { method: 'OPTIONS' })
      assert.equal(options.status, 204)
      assert.equal(options.header('Allow'), 'GET, HEAD, OPTIONS')
    }))

  it('finds an index, and redirects to the trailing slash that relative links need', () =>
    serving({}, async (get) => {
      assert.equal((await get('/')).text, '<h1>home</h1>')
      assert.equal((await get('/dir/')).text, '<h1>dir</h1>')
      assert.equal((await get('/dir/')).header('Content-Type'), 'text/html; charset=utf-8')
      const redirect = await get('/dir?a=b%20c')
      assert.equal(redirect.status, 301)
      assert.equal(redirect.header('Location'), '/dir/?a=b%20c')
      assert.equal((await get('/empty/')).status, 404)
      assert.equal((await get('/a.txt/')).status, 404)
    }))

  it('keeps SCRIPT_NAME in a redirect, and never leads to another host', () =>
    serving({}, async (get) => {
      const mounted = (script: string, path: string): Promise<CallResult> =>
        get('/', { environ: { SCRIPT_NAME: script, PATH_INFO: path } })
      assert.equal((await mounted('/st atic', '/dir')).header('Location'), '/st%20atic/dir/')
      assert.equal((await mounted('/static', '')).header('Location'), '/static/')
      assert.equal((await mounted('', '//dir')).header('Location'), '/dir/')
      assert.equal((await mounted('//evil.example', '/dir')).header('Location'), '/evil.example/dir/')
      for (const path of ['//evil.example/../dir', '/\\evil.example/dir', '//evil.example/%2e%2e/dir'])
        assert.equal((await get(path)).header('Location'), undefined, path)
    }))

  it('accepts other index names, none, and no redirect', async () => {
    await serving({ index: ['missing.html', 'a.txt'], redirect: false }, async (get) => {
      assert.equal((await get('/')).text, '0123456789')
      assert.equal((await get('/dir')).status, 404)
    })
    await serving({ index: false }, async (get) => assert.equal((await get('/')).status, 404))
  })

  it('does not serve dotfiles, except /.well-known', async () => {
    const hidden = ['/.env', '/.git/config', '/%2eenv', '/dir/.well-known']
    await serving({}, async (get) => {
      for (const path of hidden) assert.equal((await get(path)).status, 404, path)
      assert.equal((await get('/.well-known/security.txt')).text, 'contact')
    })
    await serving({ dotfiles: true }, async (get) => assert.equal((await get('/.env')).text, 'SECRET'))
  })

  it('serves nothing outside the root, whatever the path', () =>
    serving({}, async (get, root) => {
      symlinkSync('/etc/passwd', join(root, 'passwd'))
      const paths = [
        '/../../etc/passwd',
        '/..%2f..%2fetc/passwd',
        '/dir/%2e%2e/a.txt',
        '/..%5ca.txt',
        '/passwd',
        '/%252e%252e/a.txt',
        '/%c0%ae%c0%ae/a.txt',
        '/%ff',
        `/${'x'.repeat(5000)}`,
      ]
      for (const path of paths) assert.equal((await get(path)).status, 404, path)
    }))

  it('finds names that are not ASCII', () =>
    serving({}, async (get) => assert.equal((await get('/gr%C3%BCn.txt')).text, 'green')))

  it('chooses a precompressed file by q-values', () =>
    serving({}, async (get) => {
      const chosen = async (accept: string | undefined): Promise<string | undefined> => {
        const result = await get('/app.js', { headers: accept === undefined ? {} : { 'Accept-Encoding': accept } })
        assert.equal(result.header('Vary'), 'Accept-Encoding')
        assert.equal(result.header('Content-Type'), 'text/javascript; charset=utf-8')
        const encoding = result.header('Content-Encoding')
        const texts: Record<string, string> = { br: 'as brotli', zstd: 'as zstd', gzip: 'as gzip' }
        assert.equal(result.text, encoding === undefined ? 'plain' : texts[encoding])
        return encoding
      }
      assert.equal(await chosen(undefined), undefined)
      assert.equal(await chosen('gzip, deflate, br, zstd'), 'br')
      assert.equal(await chosen('gzip, zstd'), 'zstd')
      assert.equal(await chosen('gzip'), 'gzip')
      assert.equal(await chosen('br;q=0.5, gzip;q=0.8'), 'gzip')
      assert.equal(await chosen('br;q=0, *;q=0.5'), 'zstd')
      assert.equal(await chosen('gzip;q=0'), undefined)
      assert.equal(await chosen('identity, gzip;q=0.5'), undefined)
      assert.equal(await chosen('deflate'), undefined)
      assert.equal((await get('/a.txt')).header('Vary'), undefined)
    }))

  it('gives each encoding its own ETag, and ranges of the sent bytes', () =>
    serving({}, async (get) => {
      const tags = new Set<string | undefined>()
      for (const encoding of ['br', 'zstd', 'gzip', 'identity'])
        tags.add((await get('/app.js', { headers: { 'Accept-Encoding': encoding } })).header('ETag'))
      assert.equal(tags.size, 4)
      const part = await get('/app.js', { headers: { 'Accept-Encoding': 'br', Range: 'bytes=3-4' } })
      assert.equal(part.status, 206)
      assert.equal(part.text, 'br')
      assert.equal(part.header('Content-Range'), 'bytes 3-4/9')
      assert.equal(part.header('Content-Encoding'), 'br')
    }))

  it('sends the plain file if the compressed one leads out of the root', () =>
    serving({}, async (get, root) => {
      writeFileSync(join(root, 'x.css'), 'plain')
      symlinkSync('/etc/passwd', join(root, 'x.css.br'))
      const result = await get('/x.css', { headers: { 'Accept-Encoding': 'br' } })
      assert.equal(result.text, 'plain')
      assert.equal(result.header('Content-Encoding'), undefined)
    }))

  it('finds a new compressed file within a second, and notices a removed one at once', async () => {
    let now = 0
    await serving({ clock: { now: () => now, wall: Date.now } }, async (get, root) => {
      const encoding = async (): Promise<string | undefined> => {
        const result = await get('/a.txt', { headers: { 'Accept-Encoding': 'gzip' } })
        assert.equal(result.status, 200)
        return result.header('Content-Encoding')
      }
      assert.equal(await encoding(), undefined)
      writeFileSync(join(root, 'a.txt.gz'), 'as gzip')
      now = 999
      assert.equal(await encoding(), undefined)
      now = 1000
      assert.equal(await encoding(), 'gzip')
      rmSync(join(root, 'a.txt.gz'))
      assert.equal(await encoding(), undefined)
    })
  })

  it('looks for no compressed files if the option says so', () =>
    serving({ precompressed: false }, async (get) => {
      const result = await get('/app.js', { headers: { 'Accept-Encoding': 'br' } })
      assert.equal(result.text, 'plain')
      assert.equal(result.header('Vary'), undefined)
    }))

  it('answers 304 without content, and with the fields that caches need', () =>
    serving({ maxAge: 60 }, async (get) => {
      const whole = await get('/app.js', { headers: { 'Accept-Encoding': 'br' } })
      for (const condition of [{ 'If-None-Match': whole.header('ETag')! }, { 'If-Modified-Since': LAST_MODIFIED }]) {
        const result = await get('/app.js', { headers: { 'Accept-Encoding': 'br', ...condition } })
        assert.equal(result.status, 304)
        assert.equal(result.body.length, 0)
        assert.deepEqual(Object.keys(fields(result)).sort(), ['Cache-Control', 'ETag', 'Last-Modified', 'Vary'])
        assert.equal(result.header('ETag'), whole.header('ETag'))
      }
    }))

  it('answers 412 if a condition fails', () =>
    serving({}, async (get) => {
      assert.equal((await get('/a.txt', { headers: { 'If-Match': '"other"' } })).status, 412)
    }))

  it('answers ranges with the bytes of the file, in one part or several', () =>
    serving({}, async (get) => {
      const position = fc.nat(BIG.length + 1000)
      const spec = fc.oneof(
        fc.tuple(position, fc.nat(70_000)).map(([start, length]) => `${start}-${start + length}`),
        position.map((start) => `${start}-`),
        position.map((length) => `-${length}`),
      )
      await fc.assert(
        fc.asyncProperty(fc.array(spec, { minLength: 1, maxLength: 5 }), async (specs) => {
          const result = await get('/big.bin', { headers: { Range: `bytes=${specs}` } })
          if (result.status === 416) {
            assert.equal(result.header('Content-Range'), `bytes */${BIG.length}`)
            return
          }
          assert.equal(result.status, 206)
          assert.equal(result.header('Content-Length'), String(result.body.length))
          const boundary = /boundary=(.*)$/.exec(result.header('Content-Type')!)?.[1]
          const parts =
            boundary === undefined
              ? [[result.header('Content-Range')!, result.body] as const]
              : partsOf(result.body, boundary)
          for (const [range, bytes] of parts) {
            const [, start, end, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(range)!
            assert.equal(size, String(BIG.length))
            assert.ok(bytes.equals(BIG.subarray(Number(start), Number(end) + 1)), range)
          }
        }),
        { numRuns: 60 },
      )
    }))

  it('resumes a download only if the file is unchanged', () =>
    serving({}, async (get) => {
      const etag = (await get('/a.txt')).header('ETag')!
      const resume = async (ifRange: string): Promise<number> =>
        (await get('/a.txt', { headers: { Range: 'bytes=5-', 'If-Range': ifRange } })).status
      assert.equal(await resume(etag), 206)
      assert.equal(await resume(LAST_MODIFIED), 206)
      assert.equal(await resume('"other"'), 200)
      assert.equal(await resume('Thu, 29 Feb 2024 12:00:00 GMT'), 200)
    }))

  it('gives a weak ETag to a recently changed file, and no future modification time', () =>
    serving({ clock: { now: () => 0, wall: () => MODIFIED.getTime() - 400 } }, async (get) => {
      const result = await get('/a.txt')
      assert.match(result.header('ETag')!, /^W\//)
      assert.equal(result.header('Last-Modified'), LAST_MODIFIED)
      const resumed = await get('/a.txt', { headers: { Range: 'bytes=5-', 'If-Range': result.header('ETag')! } })
      assert.equal(resumed.status, 200)
    }))

  it('sends Cache-Control and further fields from its options', async () => {
    await serving({ maxAge: 3600, immutable: true, headers: [['X-A', '1']] }, async (get) => {
      const result = await get('/a.txt')
      assert.equal(result.header('Cache-Control'), 'public, max-age=3600, immutable')
      assert.equal(result.header('X-A'), '1')
      for (const personal of [{ headers: { Authorization: 'Bearer a' } }, { environ: { REMOTE_USER: 'ada' } }]) {
        const own = await get('/a.txt', personal)
        assert.equal(own.header('Cache-Control'), 'private, max-age=3600, immutable')
      }
    })
    const headers: StaticFilesOptions['headers'] = ({ path, size, modified }) => [
      ['Cache-Control', 'no-cache'],
      ['X-File', `${path} ${size} ${modified.getTime()}`],
    ]
    await serving({ maxAge: 3600, headers, types: { TXT: 'text/x-log' } }, async (get) => {
      const result = await get('/a.txt')
      assert.equal(result.header('Cache-Control'), 'no-cache')
      assert.equal(result.header('X-File'), `/a.txt 10 ${MODIFIED.getTime()}`)
      assert.equal(result.header('Content-Type'), 'text/x-log')
    })
  })

  it('passes missing files and other methods to a fallback', async () => {
    const fallback: Application = (environ, start) => {
      start('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from(`application: ${environ.REQUEST_METHOD} ${environ.PATH_INFO}`)]
    }
    await serving({ fallback }, async (get) => {
      assert.equal((await get('/missing')).text, 'application: GET /missing')
      assert.equal((await get('/a.txt', { method: 'POST' })).text, 'application: POST /a.txt')
      assert.equal((await get('/a.txt')).text, '0123456789')
    })
  })

  it('answers unknown pages of a single-page application with its page, but not unknown files', () =>
    serving({ fallback: 'index.html' }, async (get) => {
      assert.equal((await get('/users/7')).text, '<h1>home</h1>')
      assert.equal((await get('/users/7')).header('Content-Type'), 'text/html; charset=utf-8')
      assert.equal((await get('/missing.js')).status, 404)
      assert.equal((await get('/../x')).status, 404)
    }))

  it('answers 403 for a file without read permission, and logs a warning', {
    skip: process.getuid?.() === 0 && 'root may read all',
  }, async () => {
    const log = new RecordingLog()
    await serving({ log }, async (get, root) => {
      chmodSync(join(root, 'a.txt'), 0)
      assert.equal((await get('/a.txt')).status, 403)
      assert.deepEqual(log.messages('warn'), ['no permission to read a file'])
    })
  })

  it('closes the file when its head is refused', () =>
    serving({ headers: [['Bad', 'line\nbreak']] }, async (get) => {
      assert.equal((await get('/big.bin')).status, 500)
    }))

  it('accepts a URL as root, and refuses an invalid root', () =>
    withDirectory(async (root) => {
      furnish(root)
      assert.equal((await call(staticFiles(pathToFileURL(root)), { path: '/a.txt' })).status, 200)
      assert.throws(() => staticFiles(join(root, 'missing')), /is not a folder \(looked for at /)
      assert.throws(() => staticFiles(''), /is not a folder/)
      assert.throws(() => staticFiles(root, { maxAge: 1.5 }), /maxAge is 1.5, expected a whole number of seconds/)
      assert.throws(() => staticFiles(root, { immutable: true }), /needs maxAge/)
      assert.throws(() => staticFiles(root, { index: ['../x'] }), /index has "..\/x"/)
      assert.throws(() => staticFiles(root, { fallback: '../x' }), /expected the name of a file below the root/)
      assert.throws(
        () => staticFiles(root, { precompressed: ['deflate' as never] }),
        /expected an array of br, zstd and gzip, or false/,
      )
      assert.throws(() => staticFiles(root, { maxRanges: 0 }), /maxRanges is 0, expected a whole number, 1 or more/)
    }))
})

function partsOf(body: Buffer, boundary: string): (readonly [range: string, bytes: Buffer])[] {
  const parts: (readonly [string, Buffer])[] = []
  let at = 0
  for (;;) {
    const delimiter = `${at === 0 ? '' : '\r\n'}--${boundary}`
    assert.equal(body.toString('latin1', at, at + delimiter.length), delimiter)
    at += delimiter.length
    if (body.toString('latin1', at, at + 4) === '--\r\n') {
      assert.equal(at + 4, body.length)
      return parts
    }
    const end = body.indexOf('\r\n\r\n', at)
    const range = /Content-Range: (.*)/.exec(body.toString('latin1', at, end))![1]!
    const [, first, last] = /(\d+)-(\d+)/.exec(range)!
    const start = end + 4
    at = start + Number(last) + 1 - Number(first)
    parts.push([range, body.subarray(start, at)])
  }
}

for (const place of places) {
  describe(`staticFiles as the replacement of a middleware, ${place.name}`, () => {
    it('keeps the contract', () =>
      withDirectory(async (root) => {
        furnish(root)
        const files = staticFiles(root)
        await using placed = await place.put((application) => staticFiles(root, { fallback: application }), files)
        for (const [path, headers, status] of [
          ['/a.txt', {}, 200],
          ['/big.bin', {}, 200],
          ['/big.bin', { Range: 'bytes=0-0,100000-199999' }, 206],
          ['/a.txt', { 'If-None-Match': '*' }, 304],
          ['/missing', {}, 404],
          ['/dir', {}, 301],
        ] as const) {
          assert.equal((await call(placed.application, { path, headers })).status, status)
          assert.equal((await call(placed.application, { path, headers, method: 'HEAD' })).body.length, 0)
        }
        assert.ok((await call(placed.application, { path: '/big.bin' })).body.equals(BIG))
        const leaving = new AbortController()
        const left = call(placed.application, { path: '/big.bin', signal: leaving.signal })
        leaving.abort()
        assert.equal((await left).aborted?.code, 'CLIENT_GONE')
      }))
  })
}
