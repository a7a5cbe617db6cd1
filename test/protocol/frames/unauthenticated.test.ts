import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, Socket } from 'node:net'
import { describe, it } from 'node:test'
import { UnauthenticatedSockets } from '../../../protocol/frames/unauthenticated.ts'
import { listening } from '../../support/sockets.ts'
import { until } from '../../support/until.ts'

function sockets(count: number): Socket[] {
  return Array.from({ length: count }, () => new Socket())
}

function from(host: string, count: number): Socket[] {
  return sockets(count).map((socket) => Object.defineProperty(socket, 'remoteAddress', { value: host }))
}

describe('connections whose handshake is not complete', () => {
  it('are limited to 128: another connection replaces the oldest', () => {
    const unproven = new UnauthenticatedSockets()
    const all = sockets(130)
    for (const socket of all) unproven.add(socket)
    assert.deepEqual(
      all.map(({ destroyed }) => destroyed),
      all.map((_, index) => index < 2),
    )
  })

  it('of one host, however many, replace no connection of another host', () => {
    const unproven = new UnauthenticatedSockets()
    const before = from('10.0.0.2', 1)
    const flood = from('10.0.0.66', 1_000)
    const amid = from('10.0.0.3', 3)
    for (const socket of [...before, ...flood.slice(0, 500), ...amid, ...flood.slice(500)]) unproven.add(socket)
    assert.deepEqual(
      [...before, ...amid].map(({ destroyed }) => destroyed),
      [false, false, false, false],
    )
    assert.equal(flood.filter(({ destroyed }) => !destroyed).length, 128 - 4)
  })

  it('of one IPv6 /64, from many addresses, replace no connection of another host', () => {
    const unproven = new UnauthenticatedSockets()
    const others = [...from('2001:db8:0:1::1', 1), ...from('10.0.0.2', 1)]
    const flood = Array.from({ length: 300 }, (_, at) => from(`2001:db8:0:2::${at.toString(16)}`, 1)).flat()
    for (const socket of [...others, ...flood]) unproven.add(socket)
    assert.deepEqual(
      others.map(({ destroyed }) => destroyed),
      [false, false],
    )
    assert.equal(flood.filter(({ destroyed }) => !destroyed).length, 128 - 2)
  })

  it('are kept while their handshake is unread in the socket, and a silent connection is replaced', async () => {
    const unproven = new UnauthenticatedSockets(2)
    const accepted: Socket[] = []
    const server = await listening(createServer((socket) => accepted.push(socket.pause())))
    const clients: Socket[] = []
    try {
      for (let made = 0; made < 3; made++) {
        clients.push(connect({ host: '127.0.0.1', port: server.address.port }))
        await until(() => accepted.length === made + 1)
      }
      const [one, two, three] = accepted
      unproven.add(one!)
      unproven.add(two!)
      clients[0]!.write('HELLO')
      unproven.add(three!)
      assert.deepEqual([one!.destroyed, two!.destroyed], [false, true])
      assert.equal(String(await once(one!.resume(), 'data')), 'HELLO')
    } finally {
      for (const socket of [...clients, ...accepted]) socket.destroy()
      await server.stop()
    }
  })

  it('are not counted after the handshake or after the close', async () => {
    const unproven = new UnauthenticatedSockets()
    const [proved, gone, ...others] = sockets(130)
    unproven.add(proved!)
    unproven.add(gone!)
    unproven.authenticated(proved!)
    gone!.destroy()
    await once(gone!, 'close')
    for (const socket of others) unproven.add(socket)
    assert.ok(!proved!.destroyed)
    assert.ok(others.every(({ destroyed }) => !destroyed))
  })
})
