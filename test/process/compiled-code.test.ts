import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { memoryReducerFlag } from '../../process/compiled-code.ts'
import { repositoryFile, TestChild } from '../support/child.ts'

const unknown = memoryReducerFlag === undefined && `V8 ${process.versions.v8} is not known: which flag does it have?`

function output(...argv: readonly string[]): string {
  return execFileSync(process.execPath, argv, { encoding: 'utf8' })
}

test('V8 has the flag that keeps code, with the expected default', { skip: unknown }, () => {
  const options = output('--v8-options')
  const name = memoryReducerFlag!.flag.replace(/^--(?:no-)?/, '').replace(/=.*/, '')
  assert.match(options, new RegExp(`^ +--${name} .*\\n.*default: ${memoryReducerFlag!.usual}$`, 'm'))
})

test("a server sets the flag after its start, and resets it at exit, for Node's compile cache", {
  skip: unknown,
}, async () => {
  const tag = 'process.getBuiltinModule("v8").cachedDataVersionTag()'
  const child = new TestChild([repositoryFile('test/fixtures/run.ts'), 'tells-flags'])
  try {
    await child.until(() => child.stdout.includes('serving under'))
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    assert.equal(/serving under (\d+)/.exec(child.stdout)?.[1], output(memoryReducerFlag!.flag, '-p', tag).trim())
    assert.equal(/ended under (\d+)/.exec(child.stdout)?.[1], output('-p', tag).trim())
    assert.equal(child.stderr, '')
  } finally {
    await child.end()
  }
})
