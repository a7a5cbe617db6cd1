import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { application } from '../../examples/hello.ts'
import { lint } from '../../protocol/contract/lint.ts'
import { call } from '../support/call.ts'

const linted = lint(application)

test('the page shows the environ, and nothing a client sends becomes markup', async () => {
  const { status, body } = await call(linted, {
    target: '/?<script>alert(1)</script>',
    headers: ['Host', 'a"b', 'X-Odd', '<b>&'],
  })
  assert.equal(status, '200 OK')
  const page = body.toString()
  assert.match(page, /<tr><th>HTTP_X_ODD<td>&#60;b&#62;&#38;/)
  assert.match(page, /<tr><th>QUERY_STRING<td>&#60;script&#62;/)
  assert.match(page, /<tr><th>HTTP_HOST<td>a&#34;b/)
  assert.doesNotMatch(page, /<script>alert|<b>/)
})

test('bytes beyond ASCII are shown as UTF-8', async () => {
  const { body } = await call(linted, { headers: ['Host', 'a', 'X-Name', Buffer.from('Žofie').toString('latin1')] })
  assert.match(body.toString(), /<td>Žofie/)
})

test('an upload is answered with its size and hash', async () => {
  const sent = Buffer.from('one body')
  const headers = ['Host', 'a', 'Content-Length', '8']
  const { body } = await call(linted, { method: 'POST', target: '/upload', headers, body: sent })
  assert.equal(body.toString(), `8 bytes, sha256 ${createHash('sha256').update(sent).digest('hex')}\n`)
})

test('an unknown path gets 404, and an unsupported method gets 405 with the supported ones', async () => {
  assert.equal((await call(linted, { target: '/constructor' })).status, '404 Not Found')
  const refused = await call(linted, { target: '/upload' })
  assert.equal(refused.status, '405 Method Not Allowed')
  assert.deepEqual(refused.headers[0], ['Allow', 'POST, PUT'])
})
