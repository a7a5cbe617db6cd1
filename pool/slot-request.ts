/**
 * A pool's request as the rules for slots see it (`fair-slots.ts`): whose it is, which slot it holds, and how far its
 * client is behind. `request.ts` carries the request.
 */

import type { ClientKey, ClientShares } from '../protocol/client/client-shares.ts'
import type { Environ } from '../protocol/contract/application.ts'
import type { ClientView, WaitsFor } from '../protocol/contract/client-view.ts'
import type { Context } from '../protocol/contract/context.ts'
import type { AbortError } from '../protocol/contract/errors.ts'
import type { ReplayableBody, SlotUser } from '../protocol/frames/caller.ts'
import type { FairSlots, SlotRequest } from './fair-slots.ts'
import type { Member } from './member.ts'
import type { Waiting } from './queue.ts'
import type { Measurement } from './slow-watch.ts'

/** What such a request needs from its pool. */
export interface SlotRequestHost {
  readonly shares: ClientShares
  readonly slots: Pick<FairSlots<PooledSlotRequest>, 'started' | 'ended'>
}

export abstract class PooledSlotRequest implements SlotRequest, SlotUser {
  readonly arrival: number
  next: Waiting | undefined = undefined
  previous: Waiting | undefined = undefined
  queued = false
  slot = -1
  measured: Measurement | undefined = undefined
  readonly #host: SlotRequestHost
  readonly #environ: Environ
  readonly #body: ReplayableBody
  #share: ClientKey | undefined
  /** The member whose slot the request holds, also while its response is sent. */
  #holds: Member | undefined

  constructor(host: SlotRequestHost, arrival: number, environ: Environ, body: ReplayableBody) {
    this.#host = host
    this.arrival = arrival
    this.#environ = environ
    this.#body = body
  }

  abstract get returned(): boolean
  abstract refuse(): void

  /** The request takes a slot of `member`. */
  protected hold(member: Member): void {
    this.#holds = member
    this.#host.slots.started(this)
  }

  /** SlotUser: the slot is free. */
  released(): void {
    this.#holds = undefined
    this.#host.slots.ended(this)
  }

  get share(): ClientKey {
    this.#share ??= this.#host.shares.of(this.#environ.REMOTE_ADDR, this)
    return this.#share
  }

  protected get client(): ClientView | undefined {
    return (this.#environ.gantry as Partial<Context>).client
  }

  get waitsFor(): WaitsFor {
    // If the member is silent, drains, or was granted fewer slots, the end of this request frees no slot.
    if (this.#holds === undefined || !this.#holds.refills) return 'nothing'
    const waitsFor = this.client?.waitsFor ?? 'nothing'
    // The application has not read all bytes that it was given, so it does not wait for the client.
    return waitsFor === 'upload' && !this.#body.caughtUp ? 'nothing' : waitsFor
  }

  moved(direction: WaitsFor): number {
    return (direction === 'upload' ? this.client?.delivered : this.client?.accepted) ?? 0
  }

  abortSlow(reason: AbortError): void {
    this.client?.abortSlow(reason)
  }
}
