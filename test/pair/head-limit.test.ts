/** Heads above the 64 KiB limit of other wires, through two real processes. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { repositoryFile } from '../support/child.ts'
import { type Gantry, startGantry } from '../support/gantry.ts'

let directory = ''
let container: Gantry
let proxy: Gantry

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-test-'))
  const socket = `unix:${directory}/c.sock`
  const limits = ['--head-limit=512KiB', '--target-limit=256KiB', '--access-log=off']
  container = await startGantry(['container', repositoryFile('examples/hello.ts'), '--listen', socket, ...limits])
  proxy = await startGantry(['proxy', '--listen', '127.0.0.1:0', '--upstream', socket, ...limits])
})

after(async () => {
  await Promise.all([container, proxy].map((one) => one?.child.end()))
  rmSync(directory, { recursive: true, force: true })
})

function get(path: string, headers: Record<string, string>): Promise<{ status: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port: proxy.port, path, headers, agent: false }, async (response) => {
      let body = ''
      for await (const chunk of response.setEncoding('latin1')) body += chunk
      resolve({ status: response.statusCode, body })
    })
    sent.on('error', reject)
    sent.end()
  })
}

test('a header of 300 KiB whose bytes double on the link reaches the application whole', async () => {
  const value = 'é'.repeat(300 * 1024)
  const { status, body } = await get('/', { 'X-Long': value })
  assert.equal(status, 200)
  // The page shows the bytes as UTF-8: none of them is valid UTF-8.
  assert.equal(body.split('HTTP_X_LONG<td>')[1]!.split('\n')[0]!.length, 3 * value.length)
})

test('a target of 200 KiB that is carried raw and decoded reaches the application whole', async () => {
  const { status, body } = await get(`/?${'%C3%A9'.repeat(33 * 1024)}`, {})
  assert.equal(status, 200)
  assert.equal(body.split('QUERY_STRING<td>')[1]!.split('\n')[0]!.length, 6 * 33 * 1024)
})

test('above the limit it is 431, and the link goes on', async () => {
  assert.equal((await get('/', { 'X-Long': 'a'.repeat(600 * 1024) })).status, 431)
  assert.equal((await get('/', {})).status, 200)
})
