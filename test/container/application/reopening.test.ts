/** An application closes its server and may listen again, as on plain Node. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { repositoryFile, TestChild } from '../../support/child.ts'
import { type Gantry, startGantry } from '../../support/gantry.ts'
import { listening } from '../../support/sockets.ts'
import { until } from '../../support/until.ts'

// Each path does one thing to the server, and its events are printed.
const APPLICATION = `
import { createServer } from 'node:http'
const PORT = Number(process.env.PORT)
let server
const say = (what) => process.stderr.write(what + ' ' + server.listening + '\\n')
const held = []
const open = () => {
  server = createServer((req, res) => {
    if (req.url === '/hold') return void held.push(res)
    res.setHeader('Connection', 'close').end('done ' + req.url)
    res.on('close', () => acts[req.url]?.())
  })
  server.on('listening', () => say('listening')).on('close', () => say('close'))
  server.listen(PORT)
}
const again = () => server.listen(PORT)
const acts = {
  '/callback': () => server.close(again),
  '/tick': () => { server.close(); again() },
  '/later': () => server.close(() => setTimeout(again, 200)),
  '/another': () => server.close(open),
  '/twice': () => server.close(() => { server.close((error) => process.stderr.write(error.code + '\\n')); again() }),
  '/close': () => server.close(() => setTimeout(() => process.stderr.write('the end\\n'), 100)),
  '/exit': () => { server.close(); process.exit(5) },
}
process.on('SIGUSR2', () => { for (const one of held.splice(0)) one.end('held') })
open()
`

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-reopen-'))
  writeFileSync(join(directory, 'app.mjs'), APPLICATION)
})
after(() => rmSync(directory, { recursive: true, force: true }))

async function freePort(): Promise<number> {
  const server = await listening(createServer())
  await server.stop()
  return server.address.port
}

async function get(port: number, path: string): Promise<string | undefined> {
  try {
    return await (await fetch(`http://127.0.0.1:${port}${path}`)).text()
  } catch {
    return undefined
  }
}

/** The output of the application on plain Node after a request to `path`, when it responds again. */
async function onNode(path: string): Promise<string> {
  const port = await freePort()
  const child = new TestChild([join(directory, 'app.mjs')], { env: { PORT: String(port) } })
  try {
    await child.until(() => child.stderr.includes('listening'))
    return await printed(child, port, path)
  } finally {
    await child.end()
  }
}

async function printed(child: TestChild, port: number, path: string): Promise<string> {
  const before = child.stderr.length
  assert.equal(await get(port, path), `done ${path}`)
  await child.until(() => child.stderr.slice(before).includes('listening'))
  await until(async () => (await get(port, '/')) === 'done /')
  return child.stderr
}

function container(...argv: string[]): Promise<Gantry> {
  const command = ['container', join(directory, 'app.mjs'), '--interface=node', '--access-log=off', ...argv]
  return startGantry(command, { env: { PORT: '3000' } })
}

describe('an application that closes its server and listens again', () => {
  for (const [path, what] of [
    ['/callback', 'in the callback of close()'],
    ['/tick', 'in the same tick'],
    ['/later', 'later'],
    ['/another', 'with another server on its port'],
    ['/twice', 'after it has closed it twice'],
  ] as const) {
    it(`${what} is served again, and gets the same events as on plain Node`, async () => {
      const expected = await onNode(path)
      const { child, port } = await container('--listen=127.0.0.1:0')
      try {
        await child.until(() => child.stderr.includes('listening'))
        assert.equal(await printed(child, port, path), expected)
        // The application reopens more than once.
        await printed(child, port, path)
        child.process.kill('SIGTERM')
        assert.deepEqual(await child.exited, { code: 0, signal: null })
      } finally {
        await child.end()
      }
    })
  }

  it('fails no request through gantry up: requests that arrive in between wait', async () => {
    const command = ['up', join(directory, 'app.mjs'), '--interface=node', '--listen=127.0.0.1:0', '--access-log=off']
    const child = new TestChild([repositoryFile('cli/gantry.ts'), ...command], { env: { PORT: '3000' } })
    try {
      const url = /is served at http:\/\/127\.0\.0\.1:(\d+)/
      await child.until(() => url.test(child.stderr))
      const port = Number(url.exec(child.stderr)![1])
      const held = get(port, '/hold')
      assert.equal(await get(port, '/later'), 'done /later')
      await child.until(() =>
        child.log.some(({ msg }) => /^the application closed its server: nothing/.test(String(msg))),
      )
      const waiting = Array.from({ length: 20 }, (_, at) => get(port, `/${at}`))
      // The drain waits for this one, which was accepted before.
      assert.equal(await Promise.race([held, new Promise((resolve) => setImmediate(() => resolve('runs')))]), 'runs')
      process.kill(containerOf(child), 'SIGUSR2')
      assert.equal(await held, 'held')
      assert.deepEqual(
        await Promise.all(waiting),
        waiting.map((_, at) => `done /${at}`),
      )
      assert.doesNotMatch(child.stderr, /the container ended/)
    } finally {
      await child.end()
    }
  })

  it('ends when the event loop is empty if it does not listen again', async () => {
    const { child, port } = await container('--listen=127.0.0.1:0', '--health-listen=127.0.0.1:0')
    assert.equal(await get(port, '/close'), 'done /close')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    assert.match(child.stderr, /the end\n$/)
    assert.ok(child.log.some(({ reason }) => reason === 'the application closed its server'))
  })

  it('ends with its own exit code if it calls process.exit()', async () => {
    const { child, port } = await container('--listen=127.0.0.1:0')
    assert.equal(await get(port, '/exit'), 'done /exit')
    assert.deepEqual(await child.exited, { code: 5, signal: null })
  })
})

/** The process of the container, from its log. */
function containerOf(child: TestChild): number {
  return child.log.find(({ name, msg }) => name === 'container' && msg === 'ready')!['pid'] as number
}
