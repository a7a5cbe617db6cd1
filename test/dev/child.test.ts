/** The application's process of `gantry up --dev`: what it says on its channel, and its end with all that it started. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { DevChild } from '../../dev/child.ts'
import { processTable } from '../../protocol/process-table.ts'

/** Runs `code`; `imported` are the file names that it tells. */
function run(code: string): { readonly child: DevChild; readonly imported: string[] } {
  const imported: string[] = []
  const onImports = (_child: DevChild, message: { imported: readonly { file: string }[] }): void => {
    imported.push(...message.imported.map(({ file }) => file))
  }
  return { child: new DevChild({ argv: ['-e', code], env: process.env, onImports }), imported }
}

it('has ended once a process that it left running and that ignores SIGTERM is killed', async () => {
  // It tells the process id once the trap is set.
  const { child, imported } = run(`
    const { spawn } = require('node:child_process')
    const rest = spawn('sh', ['-c', 'trap "" TERM; echo set; while :; do sleep 0.05; done'])
    rest.stdout.once('data', () => {
      const file = String(rest.pid)
      process.send({ gantry: 'imports', imported: [{ file, signature: '' }], missing: [] }, () => process.exit(3))
    })`)
  assert.deepEqual(await child.exited, { code: 3, signal: null })
  assert.equal(imported.length, 1)
  const left = processTable()?.filter(({ pid, isZombie }) => String(pid) === imported[0] && !isZombie)
  assert.deepEqual(left ?? [], [])
})

it('is not disturbed by what the application sends on the channel', async () => {
  const { child, imported } = run(`
    for (const imported of [undefined, 7, 'ready', [null], [{}], [{ file: 1 }]]) process.send({ gantry: 'imports', imported, missing: [] })
    for (const failure of [undefined, null, 'text', {}, { name: 1 }]) process.send({ gantry: 'failed', failure })
    process.send({ gantry: 'ready' })
    process.send({ gantry: 'ready', addresses: [{ kind: 'unix', path: '/app.sock' }] })
    process.send(null, () => process.disconnect())`)
  assert.deepEqual(await child.ready, [{ kind: 'unix', path: '/app.sock' }])
  await child.exited
  assert.deepEqual(imported, [])
  assert.equal(child.failure, undefined)
})
