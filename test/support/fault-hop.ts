/**
 * A relay that is a bad network: connections through it are cut, reset, stalled, or given on byte by byte, as a seed says. What it does
 * give on are the bytes that came, in their order.
 */

import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net'
import { between, seeded } from './random.ts'
import { listening } from './sockets.ts'

/** What befalls one direction of one connection. */
export type Fault =
  | { kind: 'none' }
  | { kind: 'cut'; after: number } // both ends get a FIN
  | { kind: 'reset'; after: number } // both ends get a reset
  | { kind: 'stall'; after: number; milliseconds: number } // nothing for a while, then on
  | { kind: 'dribble'; bytes: number } // so many bytes one by one

export interface FaultHop {
  readonly port: number
  /** Faults so far, of each kind. */
  readonly done: Record<Fault['kind'], number>
  /** No more faults from here on, also for connections that stand. */
  heal(): void
  stop(): Promise<void>
}

/** Faults of which every kind is likely, some of them within the handshake. */
export function anyFault(seed: number): () => Fault {
  const random = seeded(seed)
  return () => {
    const after = random() < 0.3 ? between(random, 0, 300) : between(random, 300, 60_000)
    switch (between(random, 0, 5)) {
      case 0:
        return { kind: 'cut', after }
      case 1:
        return { kind: 'reset', after }
      case 2:
        return { kind: 'stall', after, milliseconds: between(random, 1, 60) }
      case 3:
        return { kind: 'dribble', bytes: between(random, 1, 3_000) }
      case 4:
        return { kind: 'none' }
      default:
        return random() < 0.5 ? { kind: 'cut', after } : { kind: 'dribble', bytes: 500 }
    }
  }
}

/** @param fault asked for each direction of each connection */
export async function startFaultHop(target: NetConnectOpts, fault: () => Fault): Promise<FaultHop> {
  const done: FaultHop['done'] = { none: 0, cut: 0, reset: 0, stall: 0, dribble: 0 }
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
      void relay(from, to, healed ? { kind: 'none' } : fault(), end)
    }
  })

  async function relay(from: Socket, to: Socket, what: Fault, end: (kind: 'cut' | 'reset') => void): Promise<void> {
    done[what.kind]++
    let passed = 0
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        let rest = chunk
        if (!healed && 'after' in what && passed <= what.after && passed + chunk.length > what.after) {
          await give(to, rest.subarray(0, what.after - passed))
          rest = rest.subarray(what.after - passed)
          if (what.kind !== 'stall') {
            end(what.kind)
            return
          }
          await new Promise((resolve) => setTimeout(resolve, what.milliseconds))
        }
        if (what.kind === 'dribble') {
          for (
            ;
            rest.length > 0 && passed + chunk.length - rest.length < what.bytes && !healed;
            rest = rest.subarray(1)
          ) {
            await give(to, rest.subarray(0, 1))
          }
        }
        await give(to, rest)
        passed += chunk.length
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
