/**
 * Connections without a handshake, where links are accepted: they are limited in number, before their handshake times
 * out.
 */

import assert from 'node:assert/strict'
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { test } from 'node:test'
import { dialTarget, type TcpAddress } from '../../protocol/net/address.ts'
import { parseOptions } from '../../protocol/options/options.ts'
import { proxyOptions } from '../../proxy/options.ts'
import { serveProxy } from '../../proxy/serve.ts'
import { Serving } from '../container/serving.ts'
import { FakeClock } from '../support/clock.ts'
import { RecordingLog } from '../support/log.ts'

/** One more than the limit. */
const COUNT = 129
/** The beginning of a HELLO. */
const FIRST = Buffer.of(0xc1)

/** Resolves when one of `COUNT` strangers is disconnected. Time stands still, so that no handshake times out. */
async function knock(target: NetConnectOpts): Promise<number> {
  const sockets: Socket[] = []
  const gone = Promise.withResolvers<number>()
  for (let index = 0; index < COUNT; index++) {
    const socket = connect(target, () => socket.write(FIRST))
    socket.on('error', () => {}).on('close', () => gone.resolve(index))
    socket.resume()
    sockets.push(socket)
  }
  const first = await gone.promise
  for (const socket of sockets) socket.destroy()
  return first
}

test('a proxy that containers join disconnects the oldest without a handshake', {
  timeout: 20_000,
}, async () => {
  const argv = ['--listen', '127.0.0.1:0', '--join-listen', '127.0.0.1:0']
  const { values } = parseOptions(proxyOptions, argv, { GANTRY_TOKEN: 'secret' })
  const proxy = await serveProxy(values, { log: new RecordingLog(), clock: new FakeClock() })
  assert.ok((await knock(dialTarget(proxy.joinAddresses[0] as TcpAddress))) < COUNT - 1)
  await proxy.drain()
})

test('a container disconnects the oldest connection whose handshake is not complete', {
  timeout: 20_000,
}, async () => {
  const serving = await Serving.start(() => [], [], {
    clock: new FakeClock(),
    environment: { GANTRY_TOKEN: 'secret' },
  })
  assert.ok((await knock(serving.target())) < COUNT - 1)
  await serving.container.drain()
})
