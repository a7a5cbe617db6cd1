/**
 * How a container's process exits after a signal: when the application's shutdown code has ended, and with its exit
 * code.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { repositoryFile, TestChild } from '../../support/child.ts'
import { startGantry } from '../../support/gantry.ts'

const files: Record<string, string> = {
  'closes.mjs': `process.on('SIGTERM', () => server.close())`,
  // SvelteKit: a timer for connections that stay open, cleared by its close callback.
  'calls-back.mjs': `
    process.once('SIGTERM', () => {
      const late = setTimeout(() => server.closeAllConnections(), 30_000)
      server.close(() => { clearTimeout(late); setTimeout(() => console.error('disconnected'), 50) })
    })`,
  // And a timer that would keep the event loop alive.
  'other-signal.mjs': `process.on('SIGINT', () => {}); process.on('SIGUSR2', () => {}); setInterval(() => {}, 1000)`,
  // As signal-exit, which many packages contain: if there is no other handler, it cleans up and sends the signal again.
  'signal-exit.mjs': `
    const end = () => {
      if (process.listeners('SIGTERM').length > 1) return
      console.error('cleaned up')
      process.off('SIGTERM', end)
      process.kill(process.pid, 'SIGTERM')
    }
    process.on('SIGTERM', end)
    setInterval(() => {}, 1000)`,
  'removes-listeners.mjs': `
    process.removeAllListeners('SIGTERM')
    process.on('SIGTERM', () => console.error('removed'))
    process.removeAllListeners()`,
  'before-exit.mjs': `
    let again = 2
    process.on('beforeExit', () => { if (again-- > 0) setTimeout(() => console.error('flushed ' + again), 20) })
    process.on('SIGTERM', () => server.close())`,
  'exits.mjs': `process.on('SIGTERM', () => process.exit(3))`,
  'exits-later.mjs': `process.on('SIGTERM', () => server.close(() => setTimeout(() => process.exit('4'), 20)))`,
  'sets-code.mjs': `process.on('SIGTERM', () => { process.exitCode = 5; server.close() })`,
  'kept-code.mjs': `process.on('SIGTERM', () => { process.exitCode = 6; server.close(() => process.exit()) })`,
  'safety-net.mjs': `
    process.on('SIGTERM', () => {
      setTimeout(() => process.exit(1), 20)
      server.close(() => setTimeout(() => process.exit(0), 60))
    })`,
  'stays.mjs': `
    process.on('SIGTERM', () => server.close())
    createServer().listen(0, '127.0.0.1')`,
  'fetch-calls.mjs': `
    process.on('SIGTERM', () => server.close(() => console.error('closed')))
    server.on('listening', async () => { console.error(await (await fetch('http://localhost:3000/')).text()) })`,
}

let directory = ''
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'gantry-stop-'))
  for (const [name, text] of Object.entries(files)) {
    const begin = `import { createServer } from 'node:http'
      const server = createServer((req, res) => res.end('hello')).listen(3000)\n`
    writeFileSync(join(directory, name), begin + text)
  }
})
after(() => rmSync(directory, { recursive: true, force: true }))

interface End {
  readonly code: number | null
  readonly stderr: string
  /** Whether the container exited, and not Node. */
  readonly stopped: boolean
  /** The container's log if it stopped waiting for the application. */
  readonly warned: boolean
}

/** Responds over a connection that stays open, gets SIGTERM, and exits. */
async function endOf(module: string, ...argv: string[]): Promise<End> {
  const file = join(directory, module)
  const { child, port } = await startGantry([
    'container',
    file,
    '--interface=node',
    '--listen=127.0.0.1:0',
    '--access-log=off',
    ...argv,
  ])
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'hello')
  child.process.kill('SIGTERM')
  const { code } = await child.exited
  return {
    code,
    stderr: child.stderr,
    stopped: child.logged('stopped'),
    warned: child.log.some(({ msg }) => /has not ended 5 s after/.test(String(msg))),
  }
}

describe('after SIGTERM a container ends', () => {
  for (const [module, code, stderr, why] of [
    ['closes.mjs', 0, '', 'when a handler has closed the server and nothing is left'],
    ['calls-back.mjs', 0, 'disconnected\n', 'after the work that the close callback began'],
    ['removes-listeners.mjs', 0, '', 'if the application has removed all listeners of signals'],
    ['other-signal.mjs', 0, '', 'at once if only other signals are handled'],
    [
      'before-exit.mjs',
      0,
      'flushed 1\nflushed 0\n',
      'when what beforeExit began is over, as often as it begins something',
    ],
    ['exits.mjs', 3, '', 'with the code of process.exit() in a handler'],
    ['exits-later.mjs', 4, '', 'with the code of process.exit() after the close callback'],
    ['sets-code.mjs', 5, '', 'with process.exitCode'],
    ['kept-code.mjs', 6, '', 'with process.exitCode after process.exit() without a code'],
    ['safety-net.mjs', 0, '', 'with its own code although its own timer would have ended it meanwhile'],
    ['fetch-calls.mjs', 0, 'hello\nclosed\n', 'although it has called itself over a keep-alive connection'],
  ] as const) {
    it(`${why} (${module})`, async () => {
      assert.deepEqual(await endOf(module), { code, stderr, stopped: true, warned: false })
    })
  }

  it('even if its event loop stays alive, and logs what keeps it alive', async () => {
    const { code, warned } = await endOf('stays.mjs')
    assert.deepEqual({ code, warned }, { code: 0, warned: true })
  })

  it('with a health listener', async () => {
    assert.deepEqual(await endOf('closes.mjs', '--health-listen=127.0.0.1:0'), {
      code: 0,
      stderr: '',
      stopped: true,
      warned: false,
    })
  })

  it('in up, which ends with the same code', async () => {
    const child = new TestChild(
      [repositoryFile('cli/gantry.ts'), 'up', 'exits-later.mjs', '--interface=node', '--listen=127.0.0.1:0'],
      { cwd: directory },
    )
    await child.until(() => child.stderr.includes('is served at'))
    child.process.kill('SIGTERM')
    assert.equal((await child.exited).code, 4)
    assert.ok(!child.log.some(({ msg }) => /has not ended 5 s after/.test(String(msg))))
  })
})
