import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { Writable } from 'node:stream'
import { describe, it } from 'node:test'
import { setImmediate as iterationEnd } from 'node:timers/promises'
import { LineOutput } from '../../../middleware/access-log/line-output.ts'
import { repositoryFile } from '../../support/child.ts'

/** Runs `code` in a process of its own. */
function ran(code: string): { stdout: string; stderr: string } {
  const file = JSON.stringify(repositoryFile('middleware/access-log/line-output.ts'))
  const whole = `import { LineOutput } from ${file}\n${code}`
  return spawnSync(process.execPath, ['--input-type=module', '-e', whole], { encoding: 'utf8' })
}

describe('lines', () => {
  it('of one event-loop iteration are written together', async () => {
    const written: string[] = []
    const output = new LineOutput((lines) => written.push(lines))
    output.write('a\n')
    output.write('b\n')
    await iterationEnd()
    output.write('c\n')
    await iterationEnd()
    assert.deepEqual(written, ['a\nb\n', 'c\n'])
  })

  it('are dropped and counted while a stream has too much to write', async () => {
    const written: string[] = []
    const stream = { writableLength: 17 * 1024 * 1024, write: (lines: string) => written.push(lines) }
    const output = new LineOutput(stream)
    output.write('a\n')
    output.write('b\n')
    await iterationEnd()
    stream.writableLength = 0
    output.write('c\n')
    await iterationEnd()
    assert.equal(written.length, 1)
    assert.match(written[0]!, /^c\n\{.*"dropped":2.*\}\n$/)
  })

  it('that cannot be written do not end the process', async () => {
    let calls = 0
    const output = new LineOutput(() => {
      calls++
      throw new Error('the disk is full')
    })
    output.write('a\n')
    await iterationEnd()
    output.write('b\n')
    await iterationEnd()
    assert.equal(calls, 2)
  })

  it('that a destination refuses are counted in the next line that is written', async () => {
    const written: string[] = []
    let isFull = true
    const output = new LineOutput((lines) => {
      if (isFull) throw new Error('the disk is full')
      written.push(lines)
    })
    for (const line of ['a\nb\n', 'c\n']) {
      output.write(line)
      await iterationEnd()
    }
    isFull = false
    output.write('d\n')
    await iterationEnd()
    assert.match(written.join(''), /^d\n\{.*"dropped":3.*\}\n$/)
  })

  for (const [what, target, reason] of [
    ['throws', "() => { throw new Error('the disk is full') }", 'the disk is full'],
    ['is not read', '{ writableLength: 17 * 1024 * 1024, write() {} }', 'the log is not being read'],
  ] as const) {
    it(`that are lost because their destination ${what} are reported on standard error, at once and at exit`, () => {
      const { stderr } = ran(`const output = new LineOutput(${target})
        output.write('a\\n')
        setImmediate(() => output.write('b\\nc\\n'))`)
      assert.equal(stderr, `gantry: log lines are being lost: ${reason}\ngantry: 3 log lines were lost\n`)
    })
  }

  it('of the event-loop iteration in which the process exits are written', () => {
    const { stdout, stderr } = ran(`const output = new LineOutput(process.stdout)
      output.write('a\\n')
      process.exit()`)
    assert.deepEqual([stdout, stderr], ['a\n', ''])
  })

  it('whose stream fails do not end the process, however many outputs share the stream', async () => {
    const stream = new Writable({ write: (_chunk, _encoding, done) => done(new Error('the disk is full')) })
    const outputs = Array.from({ length: 20 }, () => new LineOutput(stream))
    for (const output of outputs) output.write('a\n')
    await new Promise((resolve) => stream.on('close', resolve))
    outputs[0]!.write('b\n')
    await iterationEnd()
    assert.equal(stream.listenerCount('error'), 1)
  })

  it('are refused with an invalid destination', () => {
    assert.throws(() => new LineOutput(42 as never), /function or a stream with write\(\), got number/)
  })
})
