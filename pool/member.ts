/** A member of a pool: an upstream, the state in which the pool lists it, and its name in access lines. */

import type { UpstreamName } from '../protocol/contract/upstream-use.ts'
import type { Candidate } from './choose.ts'
import type { Upstream } from './upstream.ts'

/** `full`: ready, but no slot is free. */
export type MemberState = 'connecting' | 'ready' | 'full' | 'draining' | 'closed'

/** An upstream in a pool. */
export class Member implements Candidate {
  readonly upstream: Upstream
  state: MemberState = 'connecting'
  /** How many slots the pool has last requested of it. */
  demanded = 0
  #named: UpstreamName | undefined

  constructor(upstream: Upstream) {
    this.upstream = upstream
  }

  /** The name in access lines. It is final when the member gets its first request: its peer has sent HELLO by then. */
  get named(): UpstreamName {
    return (this.#named ??= nameOf(this.upstream))
  }

  get inFlight(): number {
    return this.upstream.inFlight
  }

  get grant(): number {
    return this.upstream.grant
  }

  /** Whether another request may run here after one has ended. */
  get refills(): boolean {
    return (this.state === 'ready' || this.state === 'full') && this.inFlight <= this.grant
  }
}

function nameOf({ name, address = name, peer }: Upstream): UpstreamName {
  if (!peer) return { upstream: address }
  const { id: container, worker, instance } = peer
  return instance === undefined
    ? { upstream: address, container, worker }
    : { upstream: address, container, worker, instance }
}
