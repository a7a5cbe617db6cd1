/**
 * One worker's slots, shared among the links of any number of proxies and the requests that arrive at its own port.
 * `allocate` decides from numbers alone; `Slots` keeps the numbers and notifies the links.
 */

import type { SlotHolder, SlotSource } from '../protocol/frames/server.ts'

interface SlotDemand {
  /** Slots in use. */
  inUse: number
  /** Slots that could be used: in use or waited for. A value below `inUse` counts as `inUse`. */
  wanted: number
  /** Round-robin order: if the slots do not suffice for one each, the lowest comes first. */
  order: number
}

/**
 * Returns how many slots each holder may use, in the order of `holders`.
 *
 * If the slots suffice, each holder gets what it wants, and the unwanted slots are shared too, so that a proxy's next
 * request need not ask first. If not, all wants are met up to the same level (max-min fairness), and the remainder goes
 * by order. Running requests keep their slots: a holder above its grant reduces the grants of others until enough of
 * its requests have ended.
 *
 * Invariant: Σ max(grant, inUse) ≤ slots, if Σ inUse ≤ slots.
 */
export function allocate(slots: number, holders: readonly SlotDemand[]): number[] {
  const none = holders.map(() => 0)
  const all = holders.map(() => slots)
  const inUse = holders.map((holder) => holder.inUse)
  const orders = holders.map((holder) => holder.order)
  const wants = holders.map((holder) => Math.min(slots, Math.max(holder.inUse, holder.wanted)))

  // The fair grants if nothing ran: level the wants, then level the remaining slots.
  const fair = level(slots, level(slots, none, wants, orders), all, orders)

  // Requests above a holder's fair grant keep their slots until they end; holders that should get these slots wait.
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
 * Raises every value from its low to one common level, or to its high if that is lower, so that the sum comes as close
 * to `total` as possible without exceeding it. The remainder is distributed one by one.
 *
 * If the lows already exceed `total`, they are returned unchanged.
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
  // By order only if the others get nothing: otherwise one slot would move between holders at the end of each request.
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

/**
 * A worker's slots. Each server link joins; each request that arrives at the worker's own port takes a slot and
 * releases it.
 *
 * Invariant: granted slots, plus requests that still run above a lowered grant, never exceed the slots. A proxy that
 * has not yet received a lower grant is refused above it (RESET refused), and replays elsewhere.
 */
export class Slots implements SlotSource {
  readonly size: number
  readonly #grants: Map<SlotHolder, LinkGrant> = new Map()
  #lastOrder = 0
  /** The requests of the worker's own port: one more holder, after the first such request. */
  readonly #direct = { inUse: 0, granted: 0, order: 0, used: false, asking: false }
  /** Called when a slot may be free for a waiting request of the port. */
  onRoom: () => void = () => {}
  /** Called when a link wants more slots than it can get while requests of the port hold some. */
  onScarce: () => void = () => {}
  #waiting = 0
  #allocating = false
  #again = false

  /** @param size slots of this worker, at least 1 */
  constructor(size: number) {
    this.size = size
  }

  /** Slots in use, by links and by the port. */
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

  /** A request of `holder` has settled: the holder goes to the end of the order. Called in addition to `changed`. */
  settled(holder: SlotHolder): void {
    const entry = this.#grants.get(holder)
    if (entry) entry.order = ++this.#lastOrder
  }

  /** Sets how many requests of the port wait for a slot. */
  wait(count: number): void {
    const more = count > this.#waiting
    this.#waiting = count
    if (count > 0) this.#direct.used = true
    if (more || count === 0) this.#allocate()
  }

  /** Links without a free slot whose proxies want more slots. */
  get short(): SlotHolder[] {
    const short: SlotHolder[] = []
    // A link with an equal share of all slots is not short: a proxy asks for more than it needs, so its demand does not
    // show whether requests wait there.
    const share = this.size / (this.#grants.size + 1)
    for (const { holder, granted } of this.#grants.values()) {
      if (holder.running >= granted && holder.demand > granted && holder.running < share) short.push(holder)
    }
    return short
  }

  /** Whether a link wants more slots than it was granted. */
  get scarce(): boolean {
    for (const { holder, granted } of this.#grants.values()) if (holder.demand > granted) return true
    return false
  }

  /** Takes a slot for a request of the port; returns false if none is available to it. */
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

  /** Releases a slot taken by `take`. */
  release(): void {
    this.#direct.inUse--
    this.#direct.order = ++this.#lastOrder
    // Reallocate only if a link waits; while the slots suffice, nothing changes.
    if (this.scarce) this.#allocate()
  }

  inspect(): string {
    return `<Slots ${this.running} of ${this.size} | ${this.#grants.size} links>`
  }

  #allocate(): void {
    // A holder may call back while it is notified of its grant.
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
    // Lower grants first: the granted slots never exceed the slots at any moment.
    const order = entries.map((entry, index) => ({ entry, grant: grants[index]! }))
    order.sort((a, b) => a.grant - a.entry.granted - (b.grant - b.entry.granted))
    for (const { entry, grant } of order) {
      if (entry.granted === grant || this.#again || !this.#grants.has(entry.holder)) continue
      entry.granted = grant
      entry.holder.grant(grant)
    }
  }
}
