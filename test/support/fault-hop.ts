/**
 * A relay that is a bad network: connections through it are cut, reset, stalled, or given on byte by byte, as a seed
 * says. What it does give on are the bytes that came, in their order.
 */

import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net'
import { between, seeded } from './random.ts'
import { listening } from './sockets.ts'

/** What befalls one direction of one connection; offsets in bytes. */
export interface Fault {
  /** So many bytes at its beginning go one by one. */
  dribble?: number
  /** Nothing goes on for a while, once so many bytes have. */
  stall?: { after: number; milliseconds: number }
  /** Both ends are closed, or reset, once so many bytes have gone on. */
  end?: { after: number; how: 'cut' | 'reset' }
}

export interface FaultHop {
  readonly port: number
  /** Faults so far, of each kind. */
  readonly done: Record<'dribble' | 'stall' | 'cut' | 'reset', number>
  /** No more faults from here on, also for connections that stand. */
  heal(): void
  stop(): Promise<void>
}

/** Faults of every kind: each connection ends sooner or later, some within the handshake, some in mid-frame. */
export function anyFault(seed: number): () => Fault {
  const random = seeded(seed)
  const offset = (): number => (random() < 0.3 ? between(random, 0, 300) : between(random, 300, 150_000))
  return () => ({
    ...(random() < 0.3 ? { dribble: between(random, 1, 3_000) } : {}),
    ...(random() < 0.3 ? { stall: { after: offset(), milliseconds: between(random, 1, 60) } } : {}),
    end: { after: offset(), how: random() < 0.5 ? 'cut' : 'reset' },
  })
}

/** @param fault asked for each direction of each connection */
export async function startFaultHop(target: NetConnectOpts, fault: () => Fault): Promise<FaultHop> {
  const done: FaultHop['done'] = { dribble: 0, stall: 0, cut: 0, reset: 0 }
  const far: Set<Socket> = new Set()
  let healed = false
  const server: Server = createServer({ noDelay: true }, (near) => {
    const there = connect(target)
    there.setNoDelay(true)
    far.add(there)
    there.once('close', () => {
      far.delete(there)
      near.destroy()
    })
    near.once('close', () => there.destroy())
    for (const socket of [near, there]) socket.on('error', () => {})
    const end = (kind: 'cut' | 'reset'): void => {
      for (const socket of [near, there]) {
        if (kind === 'cut') socket.destroy()
        else socket.resetAndDestroy()
      }
    }
    for (const [from, to] of [
      [near, there],
      [there, near],
    ] as const) {
      void relay(from, to, healed ? {} : fault(), end)
    }
  })

  async function relay(from: Socket, to: Socket, what: Fault, end: (how: 'cut' | 'reset') => void): Promise<void> {
    let passed = 0
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        for (let rest = chunk; rest.length > 0; ) {
          let size = rest.length
          if (!healed) {
            if (what.dribble !== undefined && passed < what.dribble) {
              if (passed === 0) done.dribble++
              size = 1
            }
            if (what.stall) {
              const left = what.stall.after - passed
              if (left === 0) {
                done.stall++
                await new Promise((resolve) => setTimeout(resolve, what.stall!.milliseconds))
              } else if (left > 0) size = Math.min(size, left)
            }
            if (what.end) {
              const left = what.end.after - passed
              if (left <= 0) {
                done[what.end.how]++
                end(what.end.how)
                return
              }
              size = Math.min(size, left)
            }
          }
          await give(to, rest.subarray(0, size))
          passed += size
          rest = rest.subarray(size)
        }
      }
      to.end()
    } catch {
      to.destroy()
    }
  }

  const { address, stop } = await listening(server)
  return {
    port: address.port,
    done,
    heal() {
      healed = true
    },
    async stop() {
      for (const socket of far) socket.destroy()
      await stop()
    },
  }
}

/** Resolves when the bytes were given to the operating system, so that each gift is a segment of its own. */
function give(to: Socket, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0) return Promise.resolve()
  return new Promise((resolve, reject) => to.write(bytes, (error) => (error ? reject(error) : resolve())))
}
