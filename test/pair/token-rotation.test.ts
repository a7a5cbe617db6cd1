/** A proxy and containers whose shared secret is replaced while they run. */

import assert from 'node:assert/strict'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import type { Application } from '../../protocol/contract/application.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { type RunningProxy, serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { withDirectory } from '../support/directory.ts'
import { RecordingLog } from '../support/log.ts'
import { until } from '../support/until.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const hello: Application = (_environ, startResponse) => {
  startResponse('200 OK', [])
  return []
}

/** Replaces a file in one step. */
function put(file: string, ...tokens: string[]): string {
  writeFileSync(`${file}.new`, tokens.map((token) => `${token}\n`).join(''), { mode: 0o600 })
  renameSync(`${file}.new`, file)
  return file
}

async function proxy(argv: string[]): Promise<{ running: RunningProxy; log: RecordingLog }> {
  const log = new RecordingLog()
  const { values } = parseOptions(proxyOptions, ['--listen', '127.0.0.1:0', ...argv])
  const running = await serveProxy(values, { log })
  cleanups.push(() => running.drain())
  return { running, log }
}

async function container(argv: string[]): Promise<Serving> {
  const serving = await Serving.start(hello, argv)
  cleanups.push(() => serving.container.drain())
  return serving
}

describe('a token that is replaced', () => {
  it('is accepted beside the old one from containers that join, until the old one is removed from the file', () =>
    withDirectory(async (directory) => {
      const file = put(join(directory, 'proxy'), 'old')
      const [old, next] = [put(join(directory, 'old'), 'old'), put(join(directory, 'next'), 'next')]
      const { running, log } = await proxy(['--join-listen', '127.0.0.1:0', '--token-file', file])
      const address = running.joinAddresses[0]
      assert.ok(address?.kind === 'tcp')
      const join_ = (tokenFile: string): Promise<Serving> =>
        container(['--join', `127.0.0.1:${address.port}`, '--token-file', tokenFile])
      await join_(old)
      await until(() => running.pool.count('ready') === 1)

      put(file, 'next', 'old')
      await join_(next)
      await join_(old)
      await until(() => running.pool.count('ready') === 3)

      put(file, 'next')
      const late = await join_(old)
      await until(() => late.log.messages().some((message) => /cannot be joined/.test(message)))
      await join_(next)
      await until(() => running.pool.count('ready') === 4)
      assert.match(
        log.lines.map(({ fields }) => String(fields['error'])).join(),
        /the peer does not hold the same token/,
      )

      // The container reads its own file again too.
      put(old, 'next')
      await until(() => running.pool.count('ready') === 5)
    }))

  it('is accepted beside the old one from proxies that dial', () =>
    withDirectory(async (directory) => {
      const file = put(join(directory, 'container'), 'next', 'old')
      const serving = await container(['--listen', '127.0.0.1:0', '--token-file', file])
      const address = serving.container.addresses[0]
      assert.ok(address?.kind === 'tcp')
      for (const token of ['old', 'next']) {
        const tokenFile = put(join(directory, `${token} proxy`), token)
        const { running } = await proxy(['--upstream', `127.0.0.1:${address.port}`, '--token-file', tokenFile])
        await until(() => running.pool.count('ready') === 1)
      }
    }))
})
