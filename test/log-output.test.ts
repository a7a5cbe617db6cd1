import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { LogOutput } from '../log-output.ts'
import { withDirectory } from './support/directory.ts'

async function written(body: (output: (limit?: number) => LogOutput) => Promise<void> | void): Promise<string> {
  return withDirectory(async (directory) => {
    const file = `${directory}/log`
    const descriptor = openSync(file, 'w')
    await body((limit) => new LogOutput(descriptor, limit))
    closeSync(descriptor)
    return readFileSync(file, 'utf8')
  })
}

test('closing writes every line in order', async () => {
  const lines = Array.from({ length: 20_000 }, (_, index) => `{"line":${index}}\n`)
  const text = await written(async (open) => {
    const output = open()
    for (const line of lines) output.write(line)
    await output.close()
  })
  assert.equal(text, lines.join(''))
})

test('a line that comes while others are being written is written after them', async () => {
  const text = await written(async (open) => {
    const output = open()
    output.write('a\n')
    const closed = output.close()
    output.write('b\n')
    await closed
    output.write('c\n')
  })
  assert.deepEqual(text.split('\n').sort(), ['', 'a', 'b', 'c'])
})

test('what waits is written at once when the process is about to end', async () => {
  const text = await written((open) => {
    const output = open()
    output.write('a\n')
    output.write('ä\n')
    output.flushSync()
  })
  assert.equal(text, 'a\nä\n')
})

test('lines beyond the limit are dropped, and a line says how many', async () => {
  const text = await written(async (open) => {
    const output = open(8)
    for (const line of ['1234\n', '5678\n', '9\n', 'abcdef\n']) output.write(line)
    await output.close()
  })
  const [first, second, third] = text.split('\n')
  assert.deepEqual([first, second], ['1234', '9'])
  assert.equal(JSON.parse(third!).dropped, 2)
})

test('a log that cannot be written ends nothing', async () => {
  const descriptor = openSync(import.meta.filename, 'r')
  const output = new LogOutput(descriptor)
  output.write('a\n')
  await output.close()
  output.write('b\n')
  output.flushSync()
  closeSync(descriptor)
})
