import assert from 'node:assert/strict'
import { it } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { startGantry } from '../support/gantry.ts'

it('a container with --access-log combined writes access lines in that format, and all other lines as JSON', async () => {
  const { child, port } = await startGantry([
    'container',
    repositoryFile('examples/hello.ts'),
    '--listen',
    '127.0.0.1:0',
    '--access-log',
    'combined',
  ])
  try {
    const response = await fetch(`http://127.0.0.1:${port}/?b`, { headers: { 'User-Agent': 'say "hi"' } })
    const { length } = Buffer.from(await response.arrayBuffer())
    await child.until(() => child.stdout.includes('GET'))
    const line = child.stdout.split('\n').find((text) => !text.startsWith('{'))
    assert.match(
      line ?? '',
      /^127\.0\.0\.1 - - \[\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET \/\?b HTTP\/1\.1" /,
    )
    assert.ok(line?.endsWith(` 200 ${length} "-" "say \\"hi\\""`), line)
  } finally {
    await child.end()
  }
})
