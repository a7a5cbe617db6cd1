/**
 * A request has one id in the proxy's log, in the container's log and at the client, whatever the container's wire is.
 */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Application } from '../../protocol/contract/application.ts'
import { printAddress, type TcpAddress } from '../../protocol/net/address.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { fields } from '../support/client.ts'
import { HttpClient } from '../support/http-client.ts'
import { RecordingLog } from '../support/log.ts'

const fails: Application = (environ) => {
  environ['wsgi.errors'].write('about to fail\n')
  throw new Error('on purpose')
}

async function ask(upstream: (address: string) => string, argv: string[], id: string | undefined) {
  await using container = await Serving.start(fails)
  const address = printAddress(container.container.addresses[0]!)
  const words = ['--listen', '127.0.0.1:0', '--upstream', upstream(address), ...argv]
  const accessLog = new RecordingLog()
  const proxy = await serveProxy(parseOptions(proxyOptions, words, {}).values, { log: new RecordingLog(), accessLog })
  try {
    const client = await HttpClient.connect({ host: '127.0.0.1', port: (proxy.addresses[0] as TcpAddress).port })
    const headers: [string, string][] = [['Accept', 'application/json']]
    if (id !== undefined) headers.push(['X-Request-Id', id])
    const answer = await client.fetch({ target: '/', headers })
    client.destroy()
    const [line] = accessLog.lines
    const logged = container.log.lines.filter(({ level }) => level === 'error')
    return {
      client: fields(answer, 'x-request-id'),
      page: JSON.parse(answer.body.toString()).requestId as string,
      proxy: line!.fields['requestId'],
      container: logged.map(({ fields, message }) => [message, fields['requestId']]),
      lines: container.accessLog.lines.map(({ fields }) => fields['requestId']),
    }
  } finally {
    await proxy.drain()
  }
}

for (const [wire, upstream, lines] of [
  ['frames', (address: string) => address, false],
  ['HTTP', (address: string) => `http://${address}`, true],
] as const) {
  suite(`the id of a request that fails, over ${wire}`, () => {
    const same = (id: string) => ({
      client: [id],
      page: id,
      proxy: id,
      container: [
        ['about to fail', id],
        ['the application failed', id],
      ],
      lines: lines ? [id] : [],
    })

    test('is the same at the client, in the proxy’s access line and in the container’s log', async () => {
      const told = await ask(upstream, [], undefined)
      assert.deepEqual(told, same(told.page))
    })

    test('is not taken from an untrusted client', async () => {
      const told = await ask(upstream, [], 'mine')
      assert.notEqual(told.page, 'mine')
      assert.deepEqual(told, same(told.page))
    })

    test('is taken from a trusted peer', async () => {
      const told = await ask(upstream, ['--trusted-peers', 'loopback'], 'from-nginx')
      assert.deepEqual(told, same('from-nginx'))
    })
  })
}
