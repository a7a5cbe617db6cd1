import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, read, readFileSync, readSync } from 'node:fs'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { LogOutput, type LogOutputOptions } from '../../../protocol/log/log-output.ts'
import { withDirectory } from '../../support/directory.ts'

const readSome = promisify(read)

async function written(
  body: (output: (options?: LogOutputOptions) => LogOutput) => Promise<void> | void,
): Promise<string> {
  return withDirectory(async (directory) => {
    const file = `${directory}/log`
    const descriptor = openSync(file, 'w')
    await body((options) => new LogOutput(descriptor, options))
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

test('a line that is logged while others are being written is written after them', async () => {
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

test('buffered lines are written at once when the process is about to exit', async () => {
  const text = await written((open) => {
    const output = open()
    output.write('a\n')
    output.write('ä\n')
    output.flushSync()
  })
  assert.equal(text, 'a\nä\n')
})

test('lines beyond the limit are dropped, and a line reports how many', async () => {
  const text = await written(async (open) => {
    const output = open({ limit: 8 })
    for (const line of ['1234\n', '5678\n', '9\n', 'abcdef\n']) output.write(line)
    await output.close()
  })
  const [first, second, third] = text.split('\n')
  assert.deepEqual([first, second], ['1234', '9'])
  assert.equal(JSON.parse(third!).dropped, 2)
})

test('a log that cannot be written does not end the process', async () => {
  const descriptor = openSync(import.meta.filename, 'r')
  const output = new LogOutput(descriptor)
  output.write('a\n')
  await output.close()
  output.write('b\n')
  output.flushSync()
  closeSync(descriptor)
})

test('each line that is lost after a torn line counts once', { skip: process.platform !== 'linux' }, () =>
  withDirectory((directory) => {
    const path = `${directory}/pipe`
    execFileSync('mkfifo', [path])
    const read = (): number => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const first = read()
    const writer = openSync(path, 'w')
    const output = new LogOutput(writer, { immediate: true })
    // More than the capacity of the pipe: only a part is written.
    output.write(`${'x'.repeat(100_000)}\n`)
    closeSync(first)
    for (const line of ['a\n', 'b\n', 'c\n']) {
      output.write(line)
      output.flushSync()
    }
    const second = read()
    const buffer = Buffer.alloc(128 * 1024)
    assert.match(buffer.toString('latin1', 0, readSync(second, buffer)), /^x+$/)
    output.write('d\n')
    output.flushSync()
    const [torn, line, lost, end] = buffer.toString('latin1', 0, readSync(second, buffer)).split('\n')
    assert.deepEqual([torn, line, end], ['', 'd', ''])
    assert.equal(JSON.parse(lost!).dropped, 4)
    for (const descriptor of [second, writer]) closeSync(descriptor)
  }),
)

test('lines of two writers that share a pipe are never mixed, even if the reader is slow', () =>
  withDirectory(async (directory) => {
    const path = `${directory}/pipe`
    execFileSync('mkfifo', [path])
    // Opened for reading and writing, so that neither open waits for the other.
    const descriptor = openSync(path, 'r+')
    const lines = ['a', 'b'].map((letter) => Array.from({ length: 300 }, (_, at) => letter.repeat(500 + (at % 400))))
    const outputs = lines.map(() => new LogOutput(descriptor, { shared: true }))
    lines.forEach((own, index) => {
      for (const line of own) outputs[index]!.write(`${line}\n`)
    })
    const closed = Promise.all(outputs.map((output) => output.close()))
    const wanted = lines.flat().join('\n').length + 1
    let text = ''
    while (text.length < wanted) {
      const { buffer, bytesRead } = await readSome(descriptor, Buffer.alloc(3_000), 0, 3_000, null)
      text += buffer.toString('latin1', 0, bytesRead)
    }
    await closed
    closeSync(descriptor)
    const came = text.split('\n')
    for (const [index, letter] of ['a', 'b'].entries())
      assert.deepEqual(
        came.filter((line) => line.startsWith(letter)),
        lines[index],
      )
  }))

test('a line that is longer than one write to a pipe is written by itself and complete', async () => {
  const long = 'x'.repeat(10_000)
  const text = await written(async (open) => {
    const output = open({ shared: true })
    for (const line of ['a', long, 'b', long]) output.write(`${line}\n`)
    await output.close()
    for (const line of [long, 'c']) output.write(`${line}\n`)
  })
  assert.equal(text, `a\n${long}\nb\n${long}\n${long}\nc\n`)
})

test('a full buffer is reported once, and the lines that are not written are counted', async () => {
  await written((open) => {
    const losses: unknown[] = []
    const output = open({ limit: 8, onLoss: (error) => losses.push(error) })
    output.write('1234\n')
    assert.equal(output.unwritten, 1)
    assert.deepEqual(losses, [])
    for (const line of ['5678\n', '5678\n9\n', 'a\n']) output.write(line)
    assert.equal(output.unwritten, 5)
    assert.deepEqual(losses, [undefined])
    output.flushSync()
    assert.equal(output.unwritten, 0)
  })
})

test('a write that fails is reported once with its error', { skip: process.platform !== 'linux' }, () => {
  const descriptor = openSync('/dev/full', 'w')
  const losses: string[] = []
  const output = new LogOutput(descriptor, { onLoss: (error) => losses.push((error as NodeJS.ErrnoException).code!) })
  for (const line of ['a\n', 'b\nc\n', 'd\n']) {
    output.write(line)
    output.flushSync()
  }
  assert.deepEqual(losses, ['ENOSPC'])
  // The line that reports lost lines was lost each time, and is not one of them.
  assert.equal(output.unwritten, 4)
  closeSync(descriptor)
})
