import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DevChild } from '../../dev/child.ts'
import type { ImportsMessage } from '../../dev/messages.ts'

function started(code: string): { child: DevChild; imports: ImportsMessage[] } {
  const imports: ImportsMessage[] = []
  const child = new DevChild({
    argv: ['-e', code],
    env: process.env,
    onImports: (_, message) => imports.push(message),
  })
  return { child, imports }
}

test('what an application sends to its parent on the IPC channel is ignored, whatever it is', async () => {
  const { child, imports } = started(`
    process.once('SIGTERM', () => process.exit(0))
    for (const message of [null, 'ready', 7, true, [], {}]) process.send(message)
    process.send({ gantry: 'imports', imported: [{ file: '/app.ts', signature: '1' }], missing: [] })
    process.send({ gantry: 'ready', addresses: [{ kind: 'unix', path: '/app.sock' }] })
    setInterval(() => {}, 1_000)`)
  assert.deepEqual(await child.ready, [{ kind: 'unix', path: '/app.sock' }])
  assert.equal(imports.length, 1)
  assert.deepEqual([...child.files], ['/app.ts'])
  assert.equal(child.failure, undefined)
  child.kill('SIGTERM')
  assert.deepEqual(await child.exited, { code: 0, signal: null })
})

test('the failure that a child reports last is known when its exit is', async () => {
  const { child } = started(`
    process.send(null)
    process.send({ gantry: 'failed', failure: { name: 'Error', message: 'cannot be loaded' } }, () => process.exit(1))`)
  assert.deepEqual(await child.exited, { code: 1, signal: null })
  assert.equal(child.failure?.message, 'cannot be loaded')
})
