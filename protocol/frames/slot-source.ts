/**
 * How the slots of a server are shared among its links: the interfaces between a link and the code that shares, which
 * is `container/slots.ts` in a container.
 */

/** A link, as the slot source sees it. */
export interface SlotHolder {
  /** Slots that the peer could use: requests in flight and queued. The peer may claim any number up to 2³²−1. */
  readonly demand: number
  /** Slots in use: applications that have not settled. Can be above the grant after the grant was lowered. */
  readonly running: number
  /** Sets how many slots this link may use at once. Requests above the grant are refused. */
  grant(slots: number): void
}

/** Shares the slots of a worker among its links. It calls `holder.grant`, also from within `join`. */
export interface SlotSource {
  /** A link is ready. */
  join(holder: SlotHolder): void
  /** A link is closed and its applications have settled: its slots are free. */
  leave(holder: SlotHolder): void
  /** `demand` has changed, or `running` fell while it was at or above the grant. */
  changed(holder: SlotHolder): void
}

/**
 * Grants each link the same number of slots. For tests, and for a server with one link.
 *
 * @param slots the number of requests that one link may run at the same time
 * @example
 * ```ts
 * import { fixedSlots } from 'gantry/protocol'
 *
 * export const slots = fixedSlots(8)
 * ```
 */
export function fixedSlots(slots: number): SlotSource {
  return {
    join: (holder) => holder.grant(slots),
    leave: () => {},
    changed: () => {},
  }
}
