import assert from 'node:assert/strict'
import { it } from 'node:test'
import { errorText } from '../../dev/page.ts'
import { repositoryFile } from '../support/child.ts'

function withStack(stack: string): Error {
  return Object.assign(new Error('a message'), { stack: `Error: a message${stack}` })
}

it('an error without frames is its message, and no frame of it', async () => {
  assert.equal((await errorText(withStack(''), false)).trim(), 'ℹ Error: a message')
})

it('a module that waits at its top level is a frame like any other, and frames of Gantry are left out', async () => {
  const own = `file://${repositoryFile('dev/container.ts')}`
  const text = await errorText(
    withStack(`\n    at async file:///srv/app.ts:4:1\n    at async ${own}:73:22\n    at async file:///%2F:1:1`),
    false,
  )
  assert.match(text, /⁃ \(\/srv\/app\.ts:4:1\)/)
  assert.doesNotMatch(text, /container\.ts/)
})
