import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { LineOutput } from '../../middleware/line-output.ts'

describe('lines', () => {
  it('of one turn of the loop leave together', async () => {
    const written: string[] = []
    const output = new LineOutput((lines) => written.push(lines))
    output.write('a\n')
    output.write('b\n')
    await turn()
    output.write('c\n')
    await turn()
    assert.deepEqual(written, ['a\nb\n', 'c\n'])
  })

  it('are dropped and counted while a stream has too much to write', async () => {
    const written: string[] = []
    const stream = { writableLength: 17 * 1024 * 1024, write: (lines: string) => written.push(lines) }
    const output = new LineOutput(stream)
    output.write('a\n')
    output.write('b\n')
    await turn()
    stream.writableLength = 0
    output.write('c\n')
    await turn()
    assert.equal(written.length, 1)
    assert.match(written[0]!, /^c\n\{.*"dropped":2.*\}\n$/)
  })

  it('that cannot be written end nothing', async () => {
    let calls = 0
    const output = new LineOutput(() => {
      calls++
      throw new Error('the disk is full')
    })
    output.write('a\n')
    await turn()
    output.write('b\n')
    await turn()
    assert.equal(calls, 2)
  })

  it('whose stream fails do not end the process, however many write to the stream', async () => {
    const stream = new Writable({ write: (_chunk, _encoding, done) => done(new Error('the disk is full')) })
    const outputs = Array.from({ length: 20 }, () => new LineOutput(stream))
    for (const output of outputs) output.write('a\n')
    await new Promise((resolve) => stream.on('close', resolve))
    outputs[0]!.write('b\n')
    await turn()
    assert.equal(stream.listenerCount('error'), 1)
  })

  it('are refused a destination that is none', () => {
    assert.throws(() => new LineOutput(42 as never), /function or a stream with write\(\), got number/)
  })
})
