import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Root, segmentsOf } from '../../../middleware/static/open-inside.ts'
import { readRange } from '../../../protocol/files/file-blocks.ts'
import { openBelow, withDirectory } from '../../support/directory.ts'

/** A root with files and links of each kind, and a secret outside it. */
function furnish(folder: string): string {
  const root = join(folder, 'root')
  mkdirSync(join(root, 'dir', 'deep'), { recursive: true })
  mkdirSync(join(folder, 'root-secret'))
  mkdirSync(join(folder, 'outside'))
  writeFileSync(join(root, 'a.txt'), 'inside')
  writeFileSync(join(root, 'dir', 'b.txt'), 'inside')
  writeFileSync(join(root, 'dir', 'deep', 'c.txt'), 'inside')
  writeFileSync(join(folder, 'outside', 'a.txt'), 'SECRET')
  writeFileSync(join(folder, 'root-secret', 'a.txt'), 'SECRET')
  symlinkSync('a.txt', join(root, 'link'))
  symlinkSync('../outside/a.txt', join(root, 'out'))
  symlinkSync('../outside', join(root, 'outdir'))
  symlinkSync('../root-secret', join(root, 'twin'))
  symlinkSync('/etc/passwd', join(root, 'passwd'))
  symlinkSync('circle', join(root, 'circle'))
  symlinkSync('nowhere', join(root, 'dangling'))
  return root
}

const options = { followSymlinks: false, now: () => 0 }

async function read(root: Root, path: string): Promise<string | undefined> {
  const segments = segmentsOf(path, true)
  const found = segments && (await root.find(segments))
  if (found === undefined) return undefined
  if (found.kind === 'directory') return 'a directory'
  const { file } = found
  try {
    return Buffer.from(await readRange(file.fd, { start: 0, end: file.stats.size - 1 })).toString()
  } finally {
    await file.close()
  }
}

for (const proc of process.platform === 'linux' ? [true, false] : [false]) {
  describe(`a root, ${proc ? 'by the path of a descriptor' : 'by real paths'}`, () => {
    const withRoot = (use: (root: Root, folder: string) => Promise<void>, followSymlinks = false): Promise<void> =>
      withDirectory(async (folder) => {
        await use(new Root(furnish(folder), { ...options, followSymlinks, proc }), folder)
        assert.equal(openBelow(folder).length, 0, 'a descriptor was left open')
      })

    it('finds files, directories, and the targets of links within it', () =>
      withRoot(async (root) => {
        assert.equal(await read(root, '/a.txt'), 'inside')
        assert.equal(await read(root, '//dir///b.txt'), 'inside')
        assert.equal(await read(root, '/link'), 'inside')
        assert.equal(await read(root, '/dir'), 'a directory')
        assert.equal(await read(root, ''), 'a directory')
      }))

    it('finds nothing outside, by whatever link', () =>
      withRoot(async (root) => {
        for (const path of ['/out', '/outdir', '/outdir/a.txt', '/twin/a.txt', '/passwd'])
          assert.equal(await read(root, path), undefined, path)
      }))

    it('follows links out of it only with followSymlinks', () =>
      withRoot(async (root) => {
        assert.equal(await read(root, '/out'), 'SECRET')
        assert.equal(await read(root, '/outdir/a.txt'), 'SECRET')
      }, true))

    it('finds nothing for a missing name', () =>
      withRoot(async (root) => {
        for (const path of [
          '/missing',
          '/a.txt/b',
          '/circle',
          '/dangling',
          `/${'x'.repeat(300)}`,
          `/${'x/'.repeat(5000)}`,
        ])
          assert.equal(await read(root, path), undefined, path.slice(0, 40))
      }))

    it('does not open a FIFO or a device', () =>
      withRoot(async (root, folder) => {
        execFileSync('mkfifo', [join(folder, 'root', 'fifo')])
        symlinkSync('/dev/zero', join(folder, 'root', 'zero'))
        assert.equal(await read(root, '/fifo'), undefined)
        assert.equal(await read(root, '/zero'), undefined)
      }))

    it('treats names as bytes, UTF-8 or not', () =>
      withRoot(async (root, folder) => {
        writeFileSync(join(folder, 'root', 'grün.txt'), 'utf-8')
        writeFileSync(Buffer.concat([Buffer.from(join(folder, 'root', 'x')), Buffer.from([0xff])]), 'latin1')
        assert.equal(await read(root, `/${Buffer.from('grün.txt').toString('latin1')}`), 'utf-8')
        assert.equal(await read(root, '/x\xff'), 'latin1')
        assert.equal(await read(root, '/y\xff'), undefined)
      }))

    it('reveals no secret while a file and a link to the outside are swapped', () =>
      withRoot(async (root, folder) => {
        const path = join(folder, 'root', 'moving')
        const spare = join(folder, 'spare')
        const exchange = (round: number): void => {
          rmSync(spare, { force: true })
          if (round % 2 === 0) symlinkSync(join(folder, 'outside', 'a.txt'), spare)
          else writeFileSync(spare, 'inside')
          renameSync(spare, path)
        }
        exchange(1)
        const seen = new Set<string | undefined>()
        for (let round = 0; round < 400; round++) {
          const reading = read(root, '/moving')
          // Between any two of its steps: each takes several event-loop iterations.
          for (let wait = (round >> 1) % 40; wait > 0; wait--) await new Promise((resolve) => setImmediate(resolve))
          exchange(round)
          seen.add(await reading)
        }
        assert.ok(!seen.has('SECRET'))
        assert.ok(seen.has('inside'))
      }))

    it('opens only files within it, whatever the name', () =>
      withRoot(async (root) => {
        const part = fc.oneof(
          fc.constantFrom(
            '..',
            '.',
            '',
            'a.txt',
            'dir',
            'deep',
            'out',
            'outdir',
            'twin',
            'link',
            'root',
            'outside',
            'passwd',
            'c.txt',
          ),
          fc.constantFrom('%2e%2e', '..%2f', '\0', '..\\', '..;', 'etc', '\xc0\xae\xc0\xae'),
          fc.string({ maxLength: 5 }),
        )
        await fc.assert(
          fc.asyncProperty(fc.array(part, { maxLength: 6 }), async (parts) => {
            const text = await read(root, `/${Buffer.from(parts.join('/')).toString('latin1')}`)
            assert.ok(
              text === undefined || text === 'inside' || text === 'a directory',
              `${parts.join('/')} gave ${text}`,
            )
          }),
          { numRuns: 300 },
        )
      }))

    it('notices within a second that a link to the root itself has moved', () =>
      withDirectory(async (folder) => {
        let now = 0
        for (const release of ['one', 'two']) {
          mkdirSync(join(folder, release))
          writeFileSync(join(folder, release, 'a.txt'), release)
        }
        const current = join(folder, 'current')
        symlinkSync('one', current)
        const root = new Root(current, { followSymlinks: false, now: () => now, proc })
        assert.equal(await read(root, '/a.txt'), 'one')
        symlinkSync('two', join(folder, 'next'))
        renameSync(join(folder, 'next'), current)
        now = 1000
        assert.equal(await read(root, '/a.txt'), 'two')
        assert.equal(readFileSync(join(current, 'a.txt'), 'utf8'), 'two')
      }))
  })
}

describe('the segments of a PATH_INFO', () => {
  it('are refused if they lead elsewhere or are hidden', () => {
    for (const path of [
      '/..',
      '/../a',
      '/a/../b',
      '/a/..',
      '/.',
      '/a\0',
      '/a\\b',
      '/.env',
      '/.git/config',
      '/a/.well-known',
      '/.hidden.txt',
      'a',
      '*',
    ])
      assert.equal(segmentsOf(path, false), undefined, path)
    assert.equal(segmentsOf('/a/..', true), undefined)
  })

  it('are names otherwise: a percent sign after decoding is a percent sign', () => {
    assert.deepEqual(segmentsOf('/%2e%2e/a', false), ['%2e%2e', 'a'])
    assert.deepEqual(segmentsOf('/...a', true), ['...a'])
    assert.deepEqual(segmentsOf('/.env', true), ['.env'])
    assert.deepEqual(segmentsOf('/.well-known/acme', false), ['.well-known', 'acme'])
    assert.deepEqual(segmentsOf('', false), [])
  })
})
