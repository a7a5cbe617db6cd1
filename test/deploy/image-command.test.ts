/** `deploy/image/gantry`, the command of the images: a shell runs health probes, and Node runs everything else. */

import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { askHealth } from '../../cli/health.ts'
import { healthCommandOptions } from '../../cli/health-options.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { repositoryFile } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { freePort, listening } from '../support/sockets.ts'

/** The shell of the images, which are based on Debian. */
function withoutTools(): string | false {
  try {
    execFileSync('timeout', ['9', 'bash', '-c', 'true'], { stdio: 'pipe' })
    return false
  } catch (error) {
    if (process.env['CI']) throw new Error('bash and timeout (coreutils) are needed', { cause: error })
    return 'bash and timeout (coreutils) are needed'
  }
}

interface Result {
  readonly code: number
  readonly printed: string
  /** The arguments of Node, if Node was started. */
  readonly node: string | undefined
}

/** Runs the command with a Node that only reports how it was started. */
function gantry(argv: readonly string[], environment: Record<string, string> = {}): Promise<Result> {
  return withDirectory(async (directory) => {
    const node = join(directory, 'node')
    writeFileSync(node, '#!/bin/sh\necho "NODE $*"\nexit 7\n')
    chmodSync(node, 0o755)
    const env = { PATH: `${directory}:${process.env['PATH']}`, ...environment }
    const [code, printed] = await new Promise<[number, string]>((resolve) => {
      execFile(repositoryFile('deploy/image/gantry'), [...argv], { env }, (error, stdout, stderr) => {
        resolve([error ? Number(error.code) : 0, stdout + stderr])
      })
    })
    return { code, printed, node: /^NODE (.*)\n$/.exec(printed)?.[1] }
  })
}

async function withServer(server: Server, act: (address: string) => Promise<void>): Promise<void> {
  const { address, stop } = await listening(server)
  try {
    await act(`127.0.0.1:${address.port}`)
  } finally {
    await stop()
  }
}

const answers: Record<string, RequestListener> = {
  'is ready or live': (request, response) => response.end(`{"${request.url?.slice(1)}":true,"containers":1}\n`),
  'says that it is ready, at every path': (_, response) => response.end('{"ready":true}\n'),
  'answers every path with a page': (_, response) => response.end('<!DOCTYPE html>\n'),
  'answers every path with other JSON': (_, response) => response.end('{"status":"ready","ready":"true"}\n'),
  'answers with a report that is no JSON': (_, response) => response.end('{"ready":true,\u001b[2J}\n'),
  'answers with half a report': (_, response) => response.end('{"live":true,"ready":tr\n'),
  'ends the line of its report in CRLF': (_, response) => response.end('{"ready":true}\r\n'),
  'is not ready': (_, response) => {
    response.writeHead(503, { 'X-Field': 'x'.repeat(5_000) })
    response.end('{"ready":false}\nmore\n')
  },
  'is no health address': (_, response) => {
    response.writeHead(404)
    response.end('<!DOCTYPE html>\n')
  },
  'says nothing in its body': (_, response) => response.writeHead(204).end(),
}

describe('the command of the images', { skip: withoutTools() }, () => {
  for (const [what, listener] of Object.entries(answers)) {
    for (const argv of [[], ['--live']]) {
      it(`reports a server that ${what} as gantry health does, without Node (${argv.join() || 'ready'})`, () =>
        withServer(createHttpServer(listener), async (address) => {
          const { healthy, line } = await askHealth(parseOptions(healthCommandOptions, [address, ...argv]).values)
          const expected = { code: healthy ? 0 : 1, printed: `${line}\n`, node: undefined }
          const asked = await gantry(['health', address, ...argv])
          assert.deepEqual({ ...asked, printed: asked.printed.replace(/ +\n/, '\n') }, expected)
        }))
    }
  }

  it('uses the address in GANTRY_HEALTH_LISTEN, unless an address is given', () =>
    withServer(createHttpServer(answers['is ready or live']!), async (address) => {
      for (const form of [address, `tcp:${address}`]) {
        const { code, printed } = await gantry(['health'], { GANTRY_HEALTH_LISTEN: form })
        assert.deepEqual([code, printed], [0, `${address} 200 {"ready":true,"containers":1}\n`])
      }
      const { code } = await gantry(['health', address], { GANTRY_HEALTH_LISTEN: `127.0.0.1:${await freePort()}` })
      assert.equal(code, 0)
    }))

  it('waits no longer than two seconds, whatever the proxy’s timeout is', () =>
    withServer(createServer(), async (address) => {
      const { code, printed } = await gantry(['health', address], { GANTRY_TIMEOUT: '60s' })
      assert.deepEqual([code, printed], [1, `${address} no answer within 2000 ms\n`])
    }))

  it('reports that nothing listens there', async () => {
    const address = `127.0.0.1:${await freePort()}`
    const { code, printed, node } = await gantry(['health', address])
    assert.deepEqual([code, node], [1, undefined])
    assert.match(printed, /^127\.0\.0\.1:\d+ connection refused, or no such host: .*\n$/)
  })

  it('does not take another server’s bytes for an answer', () =>
    withServer(
      createServer((socket) => socket.on('error', () => {}).end('220 200 OK\r\n\r\n{}\n')),
      async (address) => assert.equal((await gantry(['health', address])).code, 1),
    ))

  const nodes: readonly (readonly [argv: readonly string[], environment?: Record<string, string>])[] = [
    [['proxy', '--listen', ':8080']],
    [['container', 'application.ts', '--', 'a  b']],
    [[]],
    [['health']],
    [['health', 'unix:/run/health']],
    [['health', 'unix:80']],
    [['health', 'http://127.0.0.1:80/x']],
    [['health', '[::1]:80']],
    [['health', '127.0.0.1']],
    [['health', '127.0.0.1:port']],
    [['health', '127.0.0.1:80;id']],
    [['health', '$(id):80']],
    [['health', '127.0.0.1:80', '127.0.0.1:81']],
    [['health', '--timeout', '9s', '127.0.0.1:80']],
    [['health', '--help']],
    [['health'], { GANTRY_HEALTH_LISTEN: 'unix:/run/health' }],
    [['health'], { GANTRY_HEALTH_LISTEN: '127.0.0.1:80', GANTRY_LIVE: 'true' }],
  ]
  for (const [argv, environment] of nodes) {
    it(`passes to Node: gantry ${argv.join(' ')} ${JSON.stringify(environment ?? {})}`, async () => {
      const { code, node } = await gantry(argv, environment)
      assert.deepEqual([code, node], [7, ['/opt/gantry/dist/cli/gantry.js', ...argv].join(' ')])
    })
  }
})
