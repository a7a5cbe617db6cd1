import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { keepChannel } from '../../process/channel.ts'
import { repositoryFile } from '../support/child.ts'

test('a call of process.disconnect() by an application is ignored', () => {
  let calls = 0
  const owner = { disconnect: () => void calls++ }
  keepChannel(owner)
  owner.disconnect()
  assert.equal(calls, 0)
})

test('without a stack the channel is closed', () => {
  let calls = 0
  const owner = { disconnect: () => void calls++ }
  keepChannel(owner)
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  owner.disconnect()
  Error.stackTraceLimit = stackTraceLimit
  assert.equal(calls, 1)
})

test('the end of the parent is noticed, also after the application called process.disconnect()', async () => {
  const code = `
    import { keepChannel } from '${repositoryFile('process/channel.ts')}'
    keepChannel(process)
    process.disconnect()
    process.on('disconnect', () => console.log('gone'))
    process.send(process.connected)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  const [connected] = await once(child, 'message')
  assert.equal(connected, true)
  let printed = ''
  child.stdout!.on('data', (chunk) => (printed += chunk))
  child.disconnect()
  await once(child.stdout!, 'end')
  assert.equal(printed, 'gone\n')
})
