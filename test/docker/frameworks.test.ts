/**
 * The example of each framework as its Compose file starts it: built images, a proxy, and containers that are added and
 * removed behind it.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { WebSocket } from 'ws'
import { repositoryFile } from '../support/child.ts'
import { withoutEngine } from './engine.ts'
import { registry, until } from './project.ts'

const run = promisify(execFile)

const project = `gantry-test-express-${process.pid}`

/** Runs `docker compose` on the example with its own Compose file. */
async function compose(...argv: readonly string[]): Promise<string> {
  const file = repositoryFile('examples/express/compose.yml')
  const { stdout } = await run('docker', ['compose', '-p', project, '-f', file, ...argv], {
    env: { ...process.env, GANTRY_PORT: '0' },
    maxBuffer: 64 * 1024 * 1024,
  })
  return stdout.trim()
}

const skip = withoutEngine() || (registry() ? false : 'no package registry can be reached')

describe('examples/express/compose.yml', { skip, timeout: 400_000, concurrency: false }, () => {
  let url = ''

  before(async () => {
    await compose('build', '-q')
    await compose('up', '-d', '--no-build')
    const printed = await compose('port', 'proxy', '8080')
    url = `http://127.0.0.1:${printed.slice(printed.lastIndexOf(':') + 1)}`
    await until(async () => (await status()) === 200)
  })

  after(() => compose('down', '-v', '-t', '15'))

  async function status(): Promise<number> {
    try {
      const answer = await fetch(url)
      await answer.text()
      return answer.status
    } catch {
      return 0
    }
  }

  async function login(cookie = ''): Promise<string> {
    const answer = await fetch(`${url}/login`, {
      method: 'POST',
      body: new URLSearchParams({ name: 'Ada' }),
      headers: { cookie },
      redirect: 'manual',
    })
    await answer.text()
    assert.equal(answer.status, 303)
    return answer.headers.getSetCookie()[0]!.split(';')[0]!
  }

  it('serves the app: its page, its form, its chat', async () => {
    assert.match(await (await fetch(url)).text(), /<h1>The quay<\/h1>/)
    const me = await fetch(`${url}/me`, { headers: { cookie: await login() } })
    assert.equal(await me.text(), 'Ada, logged in 1 times\n')
    const chat = new WebSocket(`${url.replace('http', 'ws')}/chat`)
    await once(chat, 'open')
    const heard = once(chat, 'message')
    chat.send('ahoy')
    assert.equal(String((await heard)[0]), 'ahoy')
    chat.close()
    await once(chat, 'close')
  })

  it('keeps sessions with three containers, and loses no request while two of them leave', async () => {
    await compose('up', '-d', '--no-build', '--scale', 'container=3')
    let cookie = ''
    for (let count = 1; count <= 30; count++) {
      cookie = await login(cookie)
      const me = await fetch(`${url}/me`, { headers: { cookie } })
      assert.equal(await me.text(), `Ada, logged in ${count} times\n`)
    }
    let over = false
    const scaled = compose('up', '-d', '--no-build', '--scale', 'container=1').finally(() => (over = true))
    while (!over) assert.equal(await status(), 200)
    await scaled
  })
})
