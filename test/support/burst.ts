/** Many clients that connect at once and send one whole request each. */

import { connect } from 'node:net'
import { until } from './until.ts'

export interface Burst {
  /** Resolves once `count` clients have been disconnected. */
  ended(count: number): Promise<void>
  /**
   * The status of each response, sorted; '' for a client that got none. Resolves when all clients were disconnected.
   */
  statuses(): Promise<string[]>
}

export function burst(port: number, count: number): Burst {
  const texts: string[] = []
  const clients = Array.from({ length: count }, (_, index) => {
    texts.push('')
    const socket = connect({ host: '127.0.0.1', port }).setEncoding('latin1')
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      texts[index] += String(chunk)
    })
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    return socket
  })
  const ended = (wanted: number): Promise<void> =>
    until(() => clients.filter(({ closed }) => closed).length >= wanted, `${wanted} clients to be disconnected`)
  return {
    ended,
    statuses: async () => {
      await ended(count)
      return texts.map((text) => text.split(' ', 2)[1] ?? '').sort()
    },
  }
}
