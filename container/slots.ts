/**
 * One worker's slots, shared among the links of any number of proxies and the requests that come straight to its port.
 * `allocate` decides, from numbers alone; `Slots` keeps the numbers and tells the links.
 *
 * The rule it keeps: what is granted, or still running above a grant that was lowered, is never more than the slots. A
 * proxy that has not yet heard of a lower grant is refused above it (RESET refused), and replays elsewhere.
 */

import type { SlotHolder, SlotSource } from '../protocol/frames/server.ts'

export interface SlotDemand {
  /** Slots taken now. */
  inUse: number
  /** Slots that could be used: taken now and waited for. What is below `inUse` counts as that. */
  wanted: number
  /** Who comes first when there are fewer slots than who wants one: the lowest. */
  order: number
}

/**
 * How many slots each holder may have taken, in the order of `holders`.
 *
 * Each gets what it wants if all can; if not, everyone's want is met up to one level, the same for all (max-min
 * fairness), and what is left over goes by order. If all can, what nobody wants is shared too, so that a proxy's next
 * request needs not ask first. What runs cannot be taken back: a holder above its grant keeps others' grants down until
 * enough of it has ended.
 *
 * Holds: Σ max(grant, inUse) ≤ slots, if Σ inUse is.
 */
export function allocate(slots: number, holders: readonly SlotDemand[]): number[] {
  const none = holders.map(() => 0)
  const all = holders.map(() => slots)
  const inUse = holders.map((holder) => holder.inUse)
  const orders = holders.map((holder) => holder.order)
  const wants = holders.map((holder) => Math.min(slots, Math.max(holder.inUse, holder.wanted)))

  // What would be fair if nothing ran: wants to one level, then what is spare to one level.
  const fair = level(slots, level(slots, none, wants, orders), all, orders)

  // What runs above its fair share ends when it ends; until then those that are to have it wait.
  let room = slots
  const rising = fair.flatMap((grant, index) => (grant > inUse[index]! ? [index] : []))
  holders.forEach((holder, index) => {
    if (!rising.includes(index)) room -= holder.inUse
  })
  const of = (values: readonly number[]): number[] => rising.map((index) => values[index]!)
  const risen = level(room, of(inUse), of(fair), of(orders))
  rising.forEach((index, at) => {
    fair[index] = risen[at]!
  })
  return fair
}

/**
 * Raises every value from its low to one level, the same for all, or to its high where that is lower, so that their sum is as near
 * to `total` as it goes without passing it; what is left over, one each to as many as there are.
 *
 * Over-full lows are given back as they are.
 */
function level(total: number, lows: readonly number[], highs: readonly number[], orders: readonly number[]): number[] {
  const at = (height: number): number[] => lows.map((low, index) => Math.max(low, Math.min(highs[index]!, height)))
  let below = 0
  let above = Math.max(0, total)
  while (below < above) {
    const middle = Math.ceil((below + above) / 2)
    if (sum(at(middle)) <= total) below = middle
    else above = middle - 1
  }
  const values = at(below)
  const next = values.flatMap((value, index) => (value === below && value < highs[index]! ? [index] : []))
  // By order only where the others get nothing: elsewhere it would move one slot to and fro at each request's end.
  if (below === 0) next.sort((a, b) => orders[a]! - orders[b]!)
  for (const index of next.slice(0, Math.max(0, total - sum(values)))) values[index]!++
  return values
}

function sum(numbers: readonly number[]): number {
  let total = 0
  for (const number of numbers) total += number
  return total
}

interface LinkGrant {
  readonly holder: SlotHolder
  granted: number
  order: number
}

/** A worker's slots. Each server link joins; each request that comes straight to the port takes one and releases it. */
export class Slots implements SlotSource {
  readonly size: number
  readonly #grants: Map<SlotHolder, LinkGrant> = new Map()
  #lastOrder = 0
  /** Requests from the port itself: one more holder, once there has been one. */
  readonly #direct = { inUse: 0, granted: 0, order: 0, used: false, asking: false }
  /** Called when there may be a slot for a waiting request from the port. */
  onRoom: () => void = () => {}
  /** Called when a link wants more slots than there are for it, while requests from the port hold some. */
  onScarce: () => void = () => {}
  #waiting = 0
  #allocating = false
  #again = false

  /** @param size slots of this worker, at least 1 */
  constructor(size: number) {
    this.size = size
  }

  /** Slots taken now, by links and directly. */
  get running(): number {
    let running = this.#direct.inUse
    for (const { holder } of this.#grants.values()) running += holder.running
    return running
  }

  join(holder: SlotHolder): void {
    this.#grants.set(holder, { holder, granted: -1, order: ++this.#lastOrder })
    this.#allocate()
  }

  leave(holder: SlotHolder): void {
    if (this.#grants.delete(holder)) this.#allocate()
  }

  changed(holder: SlotHolder): void {
    if (this.#grants.has(holder)) this.#allocate()
  }

  /** A request of `holder` has settled: it had its order. Comes beside `changed`, which is not always due. */
  settled(holder: SlotHolder): void {
    const entry = this.#grants.get(holder)
    if (entry) entry.order = ++this.#lastOrder
  }

  /** Sets how many requests from the port wait for a slot. */
  wait(count: number): void {
    const more = count > this.#waiting
    this.#waiting = count
    if (count > 0) this.#direct.used = true
    if (more || count === 0) this.#allocate()
  }

  /** Links without a free slot whose proxies want more slots. */
  get short(): SlotHolder[] {
    const short: SlotHolder[] = []
    // A link with an equal share of all slots is not short: a proxy asks for more than it needs, so that its demand does
    // not tell whether requests wait there.
    const share = this.size / (this.#grants.size + 1)
    for (const { holder, granted } of this.#grants.values()) {
      if (holder.running >= granted && holder.demand > granted && holder.running < share) short.push(holder)
    }
    return short
  }

  /** Whether a link wants more than it was granted. */
  get scarce(): boolean {
    for (const { holder, granted } of this.#grants.values()) if (holder.demand > granted) return true
    return false
  }

  /** Takes a slot for a request that came straight to the port; false when there is none for it. */
  take(): boolean {
    const direct = this.#direct
    if (direct.inUse >= direct.granted) {
      if (this.running >= this.size) return false
      direct.used = true
      direct.asking = true
      this.#allocate()
      direct.asking = false
      if (direct.inUse >= direct.granted) return false
    }
    direct.inUse++
    return true
  }

  /** Gives back what `take` took. */
  release(): void {
    this.#direct.inUse--
    this.#direct.order = ++this.#lastOrder
    // Only who waits for it needs to be told; while there is enough for all, nothing is moved.
    if (this.scarce) this.#allocate()
  }

  inspect(): string {
    return `<Slots ${this.running} of ${this.size} | ${this.#grants.size} links>`
  }

  #allocate(): void {
    // A holder may call back while it is told of its grant.
    if (this.#allocating) {
      this.#again = true
      return
    }
    this.#allocating = true
    try {
      do {
        this.#again = false
        this.#allocateOnce()
      } while (this.#again)
    } finally {
      this.#allocating = false
    }
    const direct = this.#direct
    if (this.#waiting > 0 && !direct.asking && direct.inUse < direct.granted) this.onRoom()
    if (direct.inUse > 0 && this.scarce) this.onScarce()
  }

  #allocateOnce(): void {
    const direct = this.#direct
    const entries = [...this.#grants.values()]
    const demands: SlotDemand[] = entries.map(({ holder: { running, demand }, order }) => ({
      inUse: running,
      wanted: demand,
      order,
    }))
    if (direct.used) demands.push({ ...direct, wanted: direct.inUse + Math.max(this.#waiting, direct.asking ? 1 : 0) })
    const grants = allocate(this.size, demands)
    if (direct.used) direct.granted = grants.pop()!
    // Those that shrink first: at no moment is more granted than there is.
    const order = entries.map((entry, index) => ({ entry, grant: grants[index]! }))
    order.sort((a, b) => a.grant - a.entry.granted - (b.grant - b.entry.granted))
    for (const { entry, grant } of order) {
      if (entry.granted === grant || this.#again || !this.#grants.has(entry.holder)) continue
      entry.granted = grant
      entry.holder.grant(grant)
    }
  }
}
