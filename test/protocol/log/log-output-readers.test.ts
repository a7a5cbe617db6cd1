/** Writes to a log whose reader stalls, closes the pipe, or reads again. */

import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import { test } from 'node:test'
import { LogOutput, type LogOutputOptions } from '../../../protocol/log/log-output.ts'
import { Pipe } from '../../processes/readers.ts'
import { withDirectory } from '../../support/directory.ts'

function withPipe(
  body: (pipe: Pipe, open: (options?: LogOutputOptions) => LogOutput, directory: string) => Promise<void> | void,
): Promise<void> {
  return withDirectory(async (directory) => {
    const pipe = new Pipe(directory)
    await body(pipe, (options) => new LogOutput(pipe.stdio, options), directory)
    pipe.close()
  })
}

/** The lines read from the pipe, without those that filled it. */
async function linesOf(pipe: Pipe, count: number): Promise<string[]> {
  let text = ''
  for (;;) {
    text += pipe.read()
    const lines = text.split('\n').filter((line) => line !== '')
    if (lines.length >= count && text.endsWith('\n')) return lines
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

for (const immediate of [false, true]) {
  const kind = immediate ? 'immediate' : 'gathered'

  test(`buffered lines are written when a stalled reader reads again, and how many were lost (${kind})`, () =>
    withPipe(async (pipe, open) => {
      const output = open({ limit: 30, immediate })
      for (let line = 1; line <= 10; line++) output.write(`line ${line}\n`)
      const closed = output.close()
      const lines = await linesOf(pipe, 5)
      await closed
      const said = JSON.parse(lines.pop()!) as Record<string, unknown>
      assert.deepEqual(lines, ['line 1', 'line 2', 'line 3', 'line 4'])
      assert.equal(said['dropped'], 6)
      assert.match(String(said['msg']), /^6 log lines were lost: /)
      output.write('line 11\n')
      assert.deepEqual(await linesOf(pipe, 1), ['line 11'])
      pipe.leave()
    }))

  test(`lines that cannot be written are counted, and their number is written when possible (${kind})`, () =>
    withPipe(async (pipe, open) => {
      pipe.read()
      const output = open({ immediate })
      pipe.leave()
      for (let line = 1; line <= 3; line++) {
        output.write(`line ${line}\n`)
        output.flushSync()
      }
      pipe.returns()
      output.write('line 4\n')
      output.flushSync()
      const [line, lost, ...more] = await linesOf(pipe, 2)
      assert.equal(line, 'line 4')
      assert.equal(JSON.parse(lost!).dropped, 3)
      assert.deepEqual(more, [])
      pipe.leave()
    }))
}

test('the line that reports lost lines may be lost itself, and the lines are still counted', () =>
  withPipe(async (pipe, open) => {
    const output = open({ limit: 10, immediate: true, lost: (count) => `${count} lost` })
    for (let line = 1; line <= 5; line++) output.write(`line ${line}\n`)
    // The first line waits, four were dropped; now the batch that reports it is lost too.
    pipe.leave()
    output.flushSync()
    output.write('line 6\n')
    output.flushSync()
    pipe.returns()
    pipe.read()
    output.write('line 7\n')
    output.flushSync()
    assert.deepEqual(await linesOf(pipe, 2), ['line 7', '6 lost'])
    pipe.leave()
  }))

test('a line that was written in part does not corrupt the next one', () =>
  withPipe(async (pipe, open) => {
    pipe.read()
    const output = open({ immediate: true, lost: (count) => `${count} lost` })
    // More than the pipe holds.
    output.write(`${'x'.repeat(1024 * 1024)}\n`)
    pipe.leave()
    output.flushSync()
    pipe.returns()
    pipe.read()
    output.write('next\n')
    output.flushSync()
    const text = pipe.read()
    assert.ok(text.endsWith('\nnext\n1 lost\n'), text.slice(-40))
    pipe.leave()
  }))

test('however many lines a process writes at its exit, it waits for a stalled reader only half a second', () =>
  withPipe(async (pipe, open) => {
    const waits: number[] = []
    const { wait } = Atomics
    Atomics.wait = ((...[, , , milliseconds]: Parameters<typeof wait>) => {
      waits.push(milliseconds!)
      return 'timed-out'
    }) as typeof wait
    try {
      const output = open({ immediate: true })
      for (let line = 0; line < 100; line++) {
        output.write('line\n')
        output.flushSync()
      }
    } finally {
      Atomics.wait = wait
    }
    assert.equal(
      waits.reduce((sum, one) => sum + one, 0),
      500,
    )
    pipe.leave()
  }))

test('buffered lines, a torn line and lines behind a full pipe count as unwritten', () =>
  withPipe((pipe, open) => {
    pipe.read()
    const output = open({ limit: 1024 * 1024 + 20, immediate: true })
    // More than the pipe holds: a part of it is written.
    output.write(`${'x'.repeat(1024 * 1024)}\n`)
    for (let line = 1; line <= 3; line++) output.write('line\n')
    assert.equal(output.unwritten, 4)
    pipe.leave()
    output.flushSync()
    assert.equal(output.unwritten, 4)
    pipe.returns()
    pipe.read()
    output.write('line\n')
    output.flushSync()
    assert.equal(output.unwritten, 0)
    pipe.leave()
  }))

test('a descriptor that is closed or read-only loses lines and has no other effect', async () => {
  const descriptor = openSync(import.meta.filename, 'r')
  const outputs = [new LogOutput(descriptor), new LogOutput(9_999), new LogOutput(9_999, { immediate: true })]
  for (const output of outputs) {
    output.write('a\n')
    await output.close()
    output.write('b\n')
    output.flushSync()
    assert.equal(output.unwritten, 2)
  }
  closeSync(descriptor)
})
