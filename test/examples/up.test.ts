/** `npm start`, as a new user sees it: two real processes and the example page. */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { repositoryFile, TestChild } from '../support/child.ts'

let pair: TestChild
let url = ''

before(async () => {
  pair = new TestChild([
    repositoryFile('cli/gantry.ts'),
    'up',
    repositoryFile('examples/hello.ts'),
    '--listen',
    '127.0.0.1:0',
  ])
  const line = /hello\.ts is served at (\S+)$/m
  await pair.until(() => line.test(pair.stderr))
  url = line.exec(pair.stderr)![1]!
})

after(() => pair.end())

/** The process id of the container that serves now; undefined until it has logged it. */
function containerId(): unknown {
  return pair.log.findLast((one) => one['name'] === 'container' && one['msg'] === 'ready')?.['pid']
}

test('the page is served as soon as its URL was printed', async () => {
  const answer = await fetch(url)
  assert.equal(answer.status, 200)
  assert.match(await answer.text(), /<tr><th>wsgi\.url_scheme<td>http\n/)
})

test('an upload is hashed whole', async () => {
  const body = randomBytes(3_000_000)
  const answer = await fetch(`${url}upload`, { method: 'POST', body })
  assert.equal(await answer.text(), `3000000 bytes, sha256 ${createHash('sha256').update(body).digest('hex')}\n`)
})

test('the live stream begins immediately', async () => {
  const controller = new AbortController()
  const answer = await fetch(`${url}ticks`, { signal: controller.signal })
  const { value } = await answer.body!.getReader().read()
  assert.match(Buffer.from(value!).toString(), /^data: tick 1 /)
  controller.abort()
})

test('after a crash a request is held until the container is back', async () => {
  await pair.until(() => containerId() !== undefined)
  const crashed = containerId() as number
  process.kill(crashed, 'SIGKILL')
  await pair.until(() => /the container ended \(SIGKILL\)/.test(pair.stderr))
  const answer = await fetch(url)
  assert.equal(answer.status, 200)
  await answer.text()
  await pair.until(() => containerId() !== crashed)
})

test('Ctrl-C ends it with exit code 0, and nothing failed', async () => {
  pair.process.kill('SIGINT')
  assert.deepEqual(await pair.exited, { code: 0, signal: null })
  assert.deepEqual(
    pair.log.filter((line) => line['level'] === 'error'),
    [],
  )
})
