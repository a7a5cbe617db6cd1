/**
 * A relay that simulates a bad network: a seed decides which connections are aborted, reset, stalled, or forwarded byte
 * by byte. The bytes that are forwarded keep their order.
 */

import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net'
import { between, seeded } from './random.ts'
import { listening } from './sockets.ts'

/** The faults of one direction of one connection; offsets in bytes. */
export interface Fault {
  /** This number of bytes at the beginning is forwarded one by one. */
  dribble?: number
  /** After this number of bytes, nothing is forwarded for a while. */
  stall?: { after: number; milliseconds: number }
  /** After this number of bytes, both ends are closed or reset. */
  end?: { after: number; how: 'cut' | 'reset' }
}

export interface FaultHop {
  readonly port: number
  /** The number of faults so far, by kind. */
  readonly done: Record<'dribble' | 'stall' | 'cut' | 'reset', number>
  /** From now on there are no faults, on existing connections either. */
  heal(): void
  stop(): Promise<void>
}

/** Faults of every kind: each connection ends at some time, some within the handshake, some within a frame. */
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

/** Resolves when the operating system has accepted the bytes, so that each write becomes its own segment. */
function give(to: Socket, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0) return Promise.resolve()
  return new Promise((resolve, reject) => to.write(bytes, (error) => (error ? reject(error) : resolve())))
}
