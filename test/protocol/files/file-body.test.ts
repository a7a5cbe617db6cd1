import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import type { Application, Body } from '../../../protocol/contract/application.ts'
import { call } from '../../../protocol/contract/call.ts'
import type { LocalProtocolError } from '../../../protocol/contract/errors.ts'
import { lint } from '../../../protocol/contract/lint.ts'
import { type FileBodyOptions, fileBody } from '../../../protocol/files/file-body.ts'
import { fileWrapper } from '../../../protocol/files/file-wrapper.ts'
import { openBelow, withDirectory } from '../../support/directory.ts'
import { run } from '../../support/exchange.ts'

const KIB = 1024

/** Bytes that differ from their neighbours, so that a wrong position is detected. */
function content(size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size)
  for (let at = 0; at < size; at++) bytes[at] = (at * 31 + (at >> 8) * 7 + (at >> 16)) & 0xff
  return bytes
}

async function withFile(
  size: number,
  use: (path: string, bytes: Buffer, folder: string) => Promise<void>,
): Promise<void> {
  await withDirectory(async (folder) => {
    const path = join(folder, 'file.bin')
    const bytes = content(size)
    writeFileSync(path, bytes)
    await use(path, bytes, folder)
    assert.deepEqual(openBelow(folder), [], 'a descriptor was left open')
  })
}

function serving(file: Parameters<typeof fileBody>[0], options?: FileBodyOptions): Application {
  return lint(async (_, start) => {
    const body = await fileBody(file, options)
    start('200 OK', [
      ['Content-Type', 'application/octet-stream'],
      ['Content-Length', String(body.contentLength)],
    ])
    return body
  })
}

async function chunksOf(body: Body): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return chunks
}

describe('fileBody', () => {
  it('returns a small file as an array, which is sent with the head', () =>
    withFile(10 * KIB, async (path, bytes) => {
      const body = await fileBody(path)
      assert.ok(Array.isArray(body))
      assert.deepEqual([...body], [bytes])
      assert.equal(body.contentLength, 10 * KIB)
      assert.equal(body.stats.size, 10 * KIB)
    }))

  it('yields a large file in blocks', () =>
    withFile(600 * KIB, async (path, bytes) => {
      const body = await fileBody(path)
      const chunks = await chunksOf(body)
      await body.close?.()
      assert.deepEqual(
        chunks.map((chunk) => chunk.length),
        [256 * KIB, 256 * KIB, 88 * KIB],
      )
      assert.ok(Buffer.concat(chunks).equals(bytes))
    }))

  it('sends a file of any size as a response', async () => {
    for (const size of [0, 1, 64 * KIB, 64 * KIB + 1, 256 * KIB, 256 * KIB + 1]) {
      await withFile(size, async (path, bytes) => {
        const { status, body, aborted } = await call(serving(path))
        assert.equal(status, 200)
        assert.ok(body.equals(bytes), `${size} bytes`)
        assert.equal(aborted, undefined)
      })
    }
  })

  it('accepts a file URL and a handle, which is closed with the body', () =>
    withFile(100 * KIB, async (path, bytes) => {
      assert.ok((await call(serving(pathToFileURL(path)))).body.equals(bytes))
      const handle = await open(path)
      assert.ok((await call(serving(handle))).body.equals(bytes))
      assert.equal(handle.fd, -1)
    }))

  it('yields exactly the bytes of a range, for any block size', () =>
    withFile(100 * KIB, async (path, bytes) => {
      await fc.assert(
        fc.asyncProperty(
          fc.nat(bytes.length - 1),
          fc.nat(bytes.length - 1),
          fc.integer({ min: 1000, max: 70_000 }),
          async (a, b, blockSize) => {
            const [start, end] = a < b ? [a, b] : [b, a]
            const body = await fileBody(path, { range: { start, end }, blockSize })
            const got = Buffer.concat(await chunksOf(body))
            await body.close?.()
            assert.equal(body.contentLength, end + 1 - start)
            assert.ok(got.equals(bytes.subarray(start, end + 1)))
          },
        ),
        { numRuns: 50 },
      )
      const { body } = await call(serving(path, { range: { start: 99 * KIB } }))
      assert.ok(body.equals(bytes.subarray(99 * KIB)))
    }))

  it('rejects with a clear error if it cannot serve the file, and leaves no descriptor open', () =>
    withFile(10, async (path, _bytes, folder) => {
      await assert.rejects(fileBody(join(folder, 'missing')), { code: 'ENOENT' })
      await assert.rejects(fileBody(folder), { name: 'TypeError', message: /expected a regular file/ })
      await assert.rejects(fileBody(path, { range: { start: 5, end: 10 } }), {
        name: 'RangeError',
        message: 'the range of fileBody is 5-10: expected a range within 10 bytes',
      })
      await assert.rejects(fileBody(path, { blockSize: 0 }), /expected a positive integer/)
      const handle = await open(path)
      await assert.rejects(fileBody(handle, { range: { start: 11 } }), RangeError)
      assert.equal(handle.fd, -1)
    }))

  it('does not wait for a writer of a FIFO', { skip: process.platform === 'win32' }, () =>
    withDirectory(async (folder) => {
      const path = join(folder, 'fifo')
      execFileSync('mkfifo', [path])
      await assert.rejects(fileBody(path), /expected a regular file/)
    }),
  )

  it('responds with 500 if the file does not exist, and does not show the reason to the client', async () => {
    const { status, text } = await call(serving('/nowhere/secret.txt'))
    assert.equal(status, 500)
    assert.doesNotMatch(text, /nowhere|ENOENT/)
  })

  it('aborts the response if the file is truncated while it is served', () =>
    withFile(600 * KIB, async (path, bytes) => {
      const body = await fileBody(path)
      const application: Application = async (_, start) => {
        start('200 OK', [
          ['Content-Type', 'text/plain'],
          ['Content-Length', String(body.contentLength)],
        ])
        truncateSync(path, 300 * KIB)
        return body
      }
      const result = await call(lint(application))
      assert.equal(result.aborted?.code, 'APPLICATION')
      assert.match(String(result.aborted?.cause), /the file was truncated while it was served/)
      assert.equal((result.aborted?.cause as LocalProtocolError | undefined)?.code, 'FILE_TRUNCATED')
      assert.ok(result.body.equals(bytes.subarray(0, 300 * KIB)))
    }))

  it('sends only the declared bytes if the file grows', () =>
    withFile(300 * KIB, async (path, bytes) => {
      const body = await fileBody(path)
      writeFileSync(path, 'more', { flag: 'a' })
      assert.ok(Buffer.concat(await chunksOf(body)).equals(bytes))
      await body.close?.()
    }))

  it('is closed if it is never iterated', () =>
    withFile(300 * KIB, async (path) => {
      const body = await fileBody(path)
      await body.close?.()
      assert.deepEqual(await chunksOf(body), [])
    }))

  it('is closed for a HEAD', () =>
    withFile(300 * KIB, async (path) => {
      const { header, closed } = await call(serving(path), { method: 'HEAD' })
      assert.equal(header('Content-Length'), String(300 * KIB))
      assert.equal(closed, true)
    }))

  it('is closed if the client disconnects before the file is opened', () =>
    withFile(300 * KIB, async (path) => {
      const leaving = new AbortController()
      const opened = Promise.withResolvers<Body>()
      const result = call(
        async () => {
          const opening = fileBody(path)
          leaving.abort()
          opened.resolve(opening)
          return opening
        },
        { signal: leaving.signal },
      )
      assert.equal((await result).aborted?.code, 'CLIENT_GONE')
      assert.deepEqual(await chunksOf(await opened.promise), [])
    }))

  it('is closed only after the read in progress', () =>
    withFile(600 * KIB, async (path, _bytes, folder) => {
      const body = await fileBody(path)
      const iterator = (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()
      const first = iterator.next()
      const closing = body.close?.()
      // The descriptor is still in use: the read in progress would read another file that gets the same number.
      if (process.platform === 'linux') assert.equal(openBelow(folder).length, 1)
      await Promise.all([first, closing])
      assert.deepEqual(openBelow(folder), [])
      assert.equal((await iterator.next()).done, true)
    }))

  it('resolves several calls of next() in order', () =>
    withFile(600 * KIB, async (path, bytes) => {
      const body = await fileBody(path)
      const iterator = (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()
      const steps = await Promise.all([iterator.next(), iterator.next(), iterator.next(), iterator.next()])
      assert.deepEqual(
        steps.map(({ done }) => done),
        [false, false, false, true],
      )
      assert.ok(Buffer.concat(steps.slice(0, 3).map(({ value }) => value)).equals(bytes))
      await body.close?.()
    }))

  it('does not reuse a chunk that it has yielded', () =>
    withFile(1024 * KIB, async (path, bytes) => {
      const body = await fileBody(path)
      const chunks = await chunksOf(body)
      assert.equal(new Set(chunks.map(({ buffer }) => buffer)).size, chunks.length)
      assert.ok(Buffer.concat(chunks).equals(bytes))
      await body.close?.()
    }))
})

describe('wsgi.file_wrapper', () => {
  const wrapping = (file: () => Promise<never> | never, blockSize?: number): Application =>
    lint(async (environ, start) => {
      start('200 OK', [['Content-Type', 'text/plain']])
      return environ['wsgi.file_wrapper'](await file(), blockSize)
    })

  it('reads a handle from its current position to the end, and closes it', () =>
    withFile(300 * KIB, async (path, bytes) => {
      const handle = await open(path)
      await handle.read(Buffer.alloc(1000), 0, 1000)
      const { body, closed } = await call(wrapping(() => handle as never))
      assert.ok(body.equals(bytes.subarray(1000)))
      assert.equal(closed, true)
      assert.equal(handle.fd, -1)
    }))

  it('uses the given block size', () =>
    withFile(2500, async (path) => {
      const { sink, whenSettled } = run(wrapping(async () => (await open(path)) as never, 1000))
      await whenSettled
      assert.deepEqual(
        sink.chunks.map((chunk) => chunk.length),
        [1000, 1000, 500],
      )
    }))

  it('reads an object like a file, up to the first empty or absent block', async () => {
    for (const end of [null, new Uint8Array()]) {
      const blocks = [Buffer.from('ab'), Buffer.from('cd'), end]
      const sizes: number[] = []
      let closes = 0
      const file = {
        read(size: number) {
          sizes.push(size)
          return blocks.shift() as never
        },
        close: () => void closes++,
      }
      const { text } = await call(wrapping(() => file as never, 7))
      assert.equal(text, 'abcd')
      assert.deepEqual(sizes, [7, 7, 7])
      assert.equal(closes, 1)
    }
  })

  it('names a value that it cannot read', async () => {
    const { status } = await call(wrapping(() => 'text' as never))
    assert.equal(status, 500)
    assert.throws(() => fileWrapper('text' as never), /got text: expected a FileHandle or an object with read\(size\)/)
  })
})
