import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { repositoryFile } from '../../support/child.ts'

const FILE = JSON.stringify(repositoryFile('protocol/log/stderr-log.ts'))

/** Runs `code` after `guardStandardStreams`, with standard error at the file `stderr`. */
function guarded(code: string, stderr = '/dev/null'): { status: number | null; stdout: string } {
  const whole = `import { guardStandardStreams } from ${FILE}
    import { readFileSync, writeSync } from 'node:fs'
    guardStandardStreams()
    const flags = () => /flags:\\s*(\\d+)/.exec(readFileSync('/proc/self/fdinfo/1', 'utf8'))[1]
    const nonBlocking = () => (parseInt(flags(), 8) & 0o4000) !== 0
    ${code}`
  const node = [process.execPath, '--input-type=module', '-e', whole]
  const { status, stdout } = spawnSync('/bin/sh', ['-c', `exec "$@" 2>${stderr}`, 'sh', ...node], { encoding: 'utf8' })
  return { status, stdout }
}

const skip = !existsSync('/proc/self/fdinfo/1') && 'the system does not show how descriptors are opened'

test('guarding standard output does not change it before the application uses it', { skip }, () => {
  const code = "const before = nonBlocking(); process.stdout.write(''); writeSync(1, [before, nonBlocking()].join(' '))"
  assert.deepEqual(guarded(code), { status: 0, stdout: 'false true' })
})

test('a guarded stream is always the same object, and a stream that the application replaces is not changed', () => {
  const code = `const same = process.stderr === process.stderr
    Object.defineProperty(process, 'stdout', { value: 'mine' })
    writeSync(1, same + ' ' + process.stdout)`
  assert.deepEqual(guarded(code), { status: 0, stdout: 'true mine' })
})

test('a warning of Node does not end a process whose standard error is full', { skip }, () => {
  const code = `process.emitWarning('one')
    setTimeout(() => {
      process.emitWarning('two')
      setTimeout(() => writeSync(1, 'alive'), 20)
    }, 20)`
  assert.deepEqual(guarded(code, '/dev/full'), { status: 0, stdout: 'alive' })
})
