/** Idle connections close after a read of the sockets, a few at a time. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { closeIdle } from '../../../protocol/net/idle-close.ts'
import { listening } from '../../support/sockets.ts'
import { until } from '../../support/until.ts'

test('a connection is closed only after its socket was read, and not if a request has arrived', async () => {
  const sockets: Socket[] = []
  const server = await listening(createServer((socket) => sockets.push(socket)))
  const client = connect(server.address.port, '127.0.0.1')
  await until(() => sockets.length === 1)
  const [socket] = sockets as [Socket]
  // Called in the poll phase, after which the event loop polls no more in this iteration.
  client.write('first')
  await once(socket, 'data')
  const events: string[] = []
  socket.on('data', () => events.push('data'))
  const called = new Promise<void>((resolve) => {
    // The system has these bytes when `write` returns; this process has not read them.
    client.write('request')
    closeIdle({
      closeIfIdle: () => {
        events.push('close')
        resolve()
      },
    })
  })
  await called
  assert.deepEqual(events, ['data', 'close'])
  client.destroy()
  await server.stop()
})

test('many are closed a few at a time, with a read of the sockets between', async () => {
  const rounds: number[] = []
  let round = 0
  const count = (): void => {
    round++
    if (rounds.length < 50) setImmediate(count)
  }
  setImmediate(count)
  const done = new Promise<void>((resolve) => {
    for (let at = 0; at < 50; at++) {
      closeIdle({
        closeIfIdle: () => {
          rounds.push(round)
          if (rounds.length === 50) resolve()
        },
      })
    }
  })
  await done
  const most = Math.max(...[...new Set(rounds)].map((one) => rounds.filter((other) => other === one).length))
  assert.ok(most <= 16, `${most} in one round`)
})

test('a connection that is passed twice is closed once', async () => {
  let calls = 0
  const one = { closeIfIdle: () => void calls++ }
  closeIdle(one)
  closeIdle(one)
  for (let round = 0; round < 5; round++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(calls, 1)
})
