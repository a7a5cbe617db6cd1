/** `gantry container` as a process: how it starts and ends, and its exit codes. */

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { repositoryFile, TestChild } from '../support/child.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'
import { HttpClient } from '../support/http-client.ts'

const files: Record<string, string> = {
  'package.json': '{"type":"module"}',
  // Responds when the file `go` exists, and logs that it runs.
  'slow.ts': `import { existsSync } from 'node:fs'
    import type { IncomingMessage } from 'node:http'
    const unused: IncomingMessage | undefined = undefined
    export const application = async (environ: Record<string, any>, start: Function) => {
      environ['wsgi.errors'].write('running\\n')
      environ['wsgi.errors'].flush()
      while (!existsSync(new URL('./go', import.meta.url))) await new Promise((resolve) => setTimeout(resolve, 5))
      start('200 OK', [['Content-Type', 'text/plain']])
      return [Buffer.from('at last')]
    }`,
  'syntax.js': 'const a = 1\nexport const application = (\n',
  'throws.js': `throw new Error('no database')`,
  'nothing.js': 'export const other = 1',
  'waits.js': 'await new Promise(() => {})',
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
})
after(() => rmSync(directory, { recursive: true, force: true }))

/** Runs `gantry container` to its end. */
async function runToEnd(...argv: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = new TestChild([repositoryFile('cli/gantry.ts'), 'container', ...argv], { cwd: directory })
  const { code } = await child.exited
  return { code, stdout: child.stdout, stderr: child.stderr }
}

/** A container with one running request. */
async function busy(): Promise<{ gantry: Gantry; client: HttpClient; answer: Promise<string> }> {
  rmSync(join(directory, 'go'), { force: true })
  const gantry = await startGantry(['container', join(directory, 'slow.ts'), '--listen', '127.0.0.1:0'])
  const client = await HttpClient.connect({ host: '127.0.0.1', port: gantry.port })
  const answer = client
    .request({ target: '/' })
    .whole()
    .then(({ body, complete }) => (complete ? body.toString() : 'cut'))
  await gantry.child.until(() => gantry.child.stdout.includes('running'))
  return { gantry, client, answer }
}

describe('gantry container', () => {
  for (const [module, says] of [
    ['missing.ts', /^gantry container: there is no file .*missing\.ts\n$/],
    ['syntax.js', /^gantry container: .*syntax\.js:\d+: SyntaxError: .*\n$/],
    [
      'nothing.js',
      /^gantry container: nothing\.js exports neither application nor a default; it exports other; .*--interface node\n$/,
    ],
    ['waits.js', /^gantry container: waits\.js .*never finishes loading: a top-level await .* never settles\n$/],
    [
      'throws.js',
      /^gantry container: throws\.js threw while it was loaded: no database\nError: no database\n\s+at .*throws\.js/,
    ],
  ] as const) {
    it(`explains once what is wrong with ${module}, and exits 1`, async () => {
      const { code, stdout, stderr } = await runToEnd(module, '--listen', '127.0.0.1:0')
      assert.match(stderr, says)
      assert.equal(code, 1)
      assert.equal(stdout, '')
    })
  }

  it('names the address on which it cannot listen, and exits 1', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const { code, stderr } = await runToEnd('slow.ts', '--listen', `127.0.0.1:${port}`)
    assert.equal(stderr, `gantry container: cannot listen on 127.0.0.1:${port}: another process is listening there\n`)
    assert.equal(code, 1)
    server.close()
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`finishes a slow request after ${signal}, and exits 0`, async () => {
      const { gantry, client, answer } = await busy()
      gantry.child.process.kill(signal)
      await gantry.child.until(() => gantry.child.logged('draining'))
      writeFileSync(join(directory, 'go'), '')
      assert.equal(await answer, 'at last')
      client.destroy()
      assert.deepEqual(await gantry.child.exited, { code: 0, signal: null })
      assert.equal(gantry.child.stderr, '')
    })
  }

  it('exits at once at the second signal, although a request runs', async () => {
    const { gantry, client, answer } = await busy()
    gantry.child.process.kill('SIGTERM')
    await gantry.child.until(() => gantry.child.logged('draining'))
    // Two signals within a quarter of a second count as one: a terminal and npm both deliver a Ctrl-C.
    const again = setInterval(() => gantry.child.process.kill('SIGTERM'), 50)
    const exit = await gantry.child.exited
    clearInterval(again)
    assert.deepEqual(exit, { code: 143, signal: null })
    assert.equal(await answer, 'cut')
    client.destroy()
  })

  it('takes over the Unix socket of a killed container, and removes it when it ends', async () => {
    const path = join(directory, 'socket')
    const argv = ['container', join(directory, 'slow.ts'), '--listen', `unix:${path}`]
    const killed = await startGantry(argv)
    killed.child.process.kill('SIGKILL')
    await killed.child.exited
    assert.ok(existsSync(path))
    const next = await startGantry(argv)
    next.child.process.kill('SIGTERM')
    assert.deepEqual(await next.child.exited, { code: 0, signal: null })
    assert.equal(existsSync(path), false)
  })
})
