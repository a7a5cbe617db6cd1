import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { findProgram, need, programs, run, Unavailable } from '../../bench/measure/programs.ts'

test('a program is found on PATH if it can be executed, and the first of its names is used', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const [first, second] = ['gantry-test-first', 'gantry-test-second']
  writeFileSync(join(folder, second), '', { mode: 0o755 })
  assert.equal(findProgram([first, second], `/nonexistent:${folder}`), join(folder, second))
  writeFileSync(join(folder, first), '', { mode: 0o644 })
  assert.equal(findProgram([first, second], folder), join(folder, second))
  chmodSync(join(folder, first), 0o755)
  assert.equal(findProgram([first, second], folder), join(folder, first))
  assert.equal(findProgram([first], '/nonexistent'), undefined)
})

test('a missing program is named with its Debian package', () => {
  // wrk and h2load are never in sbin, which is always searched.
  for (const [name, message] of [
    ['wrk', 'wrk is not installed (Debian: wrk)'],
    ['h2load', 'h2load is not installed (Debian: nghttp2-client)'],
  ] as const) {
    assert.throws(
      () => need(name, '/nonexistent'),
      (error) => error instanceof Unavailable && error.message === message,
    )
  }
})

test('the version of every program is found in its output', () => {
  const outputs = {
    wrk: 'wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer',
    h2load: 'h2load nghttp2/1.52.0',
    nginx: 'nginx version: nginx/1.22.1',
    haproxy: 'HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/',
    uwsgi: '2.0.21-debian',
    gunicorn: 'gunicorn (version 20.1.0)',
  } as const
  for (const [name, output] of Object.entries(outputs)) {
    const { pattern } = programs[name as keyof typeof outputs].version
    assert.match(pattern.exec(output)?.[1] ?? '', /^\d+\.\d+\.\d+$/, name)
  }
})

test('a program that fails is reported with its last line, and one that takes too long is ended', async () => {
  const node = (code: string, settings = {}): Promise<string> => run(process.execPath, ['-e', code], settings)
  assert.equal(await node('console.log("fine")'), 'fine\n')
  await assert.rejects(node('console.error("first\\nlast"); process.exit(3)'), /node failed: last$/)
  await assert.rejects(node('setInterval(() => {}, 1000)', { timeout: 200 }), /node failed: it was ended after 200 ms$/)
})

test('without wrk its experiments are reported as left out, and a run that measured nothing fails', async () => {
  const file = join(import.meta.dirname, '..', '..', 'bench', 'run.ts')
  const args = [file, '--only', 'hello,cold,node', '--rounds', '1']
  const { code, stdout } = await new Promise<{ code: unknown; stdout: string }>((resolve) => {
    execFile(process.execPath, args, { env: { ...process.env, PATH: '/nonexistent' } }, (error, stdout) =>
      resolve({ code: error?.code, stdout }),
    )
  })
  assert.equal(code, 1)
  assert.match(stdout, /hello is left out: wrk is not installed \(Debian: wrk\)/)
  assert.match(stdout, /cold is left out: wrk is not installed \(Debian: wrk\)/)
  assert.match(stdout, /Nothing was measured\./)
})
