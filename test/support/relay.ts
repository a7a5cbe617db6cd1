/** A TCP relay between two processes: with a limited rate, and able to forget its connections, as a NAT does. */

import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { listening } from './sockets.ts'

export interface Relay {
  readonly port: number
  /** Connections so far. */
  readonly connections: number
  /** From now on nothing passes on the existing connections, and neither end is notified. New connections work. */
  forget(): void
  stop(): Promise<void>
}

/** Bytes that are forwarded at once. */
const PIECE = 4_096

/** @param rate bytes per second, of all connections together, in each direction */
export async function startRelay(port: number, rate: number = Number.POSITIVE_INFINITY): Promise<Relay> {
  const state = { connections: 0, era: 0 }
  const far: Set<Socket> = new Set()
  const free = { up: 0, down: 0 }

  const pass = async (from: Socket, to: Socket, direction: 'up' | 'down', era: number): Promise<void> => {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += PIECE) {
        const piece = chunk.subarray(at, at + PIECE)
        // The line is shared: each piece occupies it for its time, after earlier pieces.
        const now = performance.now()
        free[direction] = Math.max(now, free[direction]) + (1_000 * piece.length) / rate
        if (free[direction] - now >= 1) await delay(free[direction] - now)
        if (era !== state.era) {
          // Neither read nor closed any more.
          await new Promise((resolve) => from.once('close', resolve))
          return
        }
        if (!to.write(piece)) await new Promise((resolve) => to.once('drain', resolve).once('close', resolve))
      }
    }
    if (era === state.era) to.end()
  }

  const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    state.connections++
    const { era } = state
    const there = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    far.add(there)
    there.once('close', () => far.delete(there))
    for (const [one, other] of [
      [near, there],
      [there, near],
    ] as const) {
      one.on('error', () => {})
      one.once('close', () => {
        if (era === state.era) other.destroy()
      })
    }
    for (const passing of [pass(near, there, 'up', era), pass(there, near, 'down', era)]) passing.catch(() => {})
  })
  const { address, stop } = await listening(server)
  return {
    port: address.port,
    get connections() {
      return state.connections
    },
    forget: () => void state.era++,
    async stop() {
      for (const socket of far) socket.destroy()
      await stop()
    },
  }
}
