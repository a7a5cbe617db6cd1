/** The application's process of `gantry up --dev`: the messages on its channel, and its end with its descendants. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DevChild } from '../../dev/child.ts'
import type { ImportsMessage } from '../../dev/messages.ts'
import { processTable } from '../../process/process-table.ts'

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

test('has ended when a process that it left running, and that ignores SIGTERM, is killed', async () => {
  // It prints its process id after it has set the trap.
  const { child } = started(`
    const { spawn } = require('node:child_process')
    const rest = spawn('sh', ['-c', 'trap "" TERM; echo set; while :; do sleep 0.05; done'])
    rest.stdout.once('data', () => {
      const file = String(rest.pid)
      process.send({ gantry: 'imports', imported: [{ file, signature: '' }], missing: [] }, () => process.exit(3))
    })`)
  assert.deepEqual(await child.exited, { code: 3, signal: null })
  assert.equal(child.files.size, 1)
  const left = processTable()?.filter(({ pid, isZombie }) => child.files.has(String(pid)) && !isZombie)
  assert.deepEqual(left ?? [], [])
})

test('is not disturbed by what the application sends on the channel', async () => {
  const { child } = started(`
    for (const imported of [undefined, 7, 'ready', [null], [{}], [{ file: 1 }]]) process.send({ gantry: 'imports', imported, missing: [] })
    for (const failure of [undefined, null, 'text', {}, { name: 1 }]) process.send({ gantry: 'failed', failure })
    process.send({ gantry: 'ready' })
    process.send({ gantry: 'ready', addresses: [{ kind: 'unix', path: '/app.sock' }] })
    process.send(null, () => process.disconnect())`)
  assert.deepEqual(await child.ready, [{ kind: 'unix', path: '/app.sock' }])
  await child.exited
  assert.deepEqual([...child.files], [])
  assert.equal(child.failure, undefined)
})
