/**
 * Which member gets a request: a pure function of a snapshot. `pool.ts` sends, queues or refuses the request
 * accordingly.
 */

export interface Candidate {
  readonly state: string
  /** Requests that it runs for this pool now. */
  readonly inFlight: number
  /** How many requests of this pool it may run at once. */
  readonly grant: number
}

interface Snapshot<T extends Candidate> {
  readonly members: readonly T[]
  /** Members that must not get this request, since they have refused it already. */
  readonly avoid?: ReadonlySet<T> | undefined
  /** Requests that are waiting. */
  readonly queued: number
  /** How many may wait. */
  readonly queueSize: number
}

/** Send to this member; wait in the queue; or refuse, since the queue is full. */
export type Choice<T> = T | 'wait' | 'refuse'

/**
 * Draws two members at random and takes the less loaded one ("power of two choices", as tower's `balance/p2c`). That is
 * nearly as even as comparing all members, takes constant time, and avoids a herd: several proxies that see the same
 * containers would all send to the one that is least loaded.
 *
 * @param random returns numbers in [0, 1), as `Math.random`
 */
export function choose<T extends Candidate>(snapshot: Snapshot<T>, random: () => number): Choice<T> {
  const member = pick(snapshot.members, snapshot.avoid, random)
  if (member !== undefined) return member
  return snapshot.queued < snapshot.queueSize ? 'wait' : 'refuse'
}

/** A member with a free slot; undefined if no member has one. */
export function pick<T extends Candidate>(
  members: readonly T[],
  avoid: ReadonlySet<T> | undefined,
  random: () => number,
): T | undefined {
  const count = members.length
  if (count === 0) return undefined
  const first = Math.floor(random() * count)
  const one = members[first]!
  if (count === 1) return isOpen(one, avoid) ? one : undefined
  // The second draw is from the other members: it skips the first.
  const draw = Math.floor(random() * (count - 1))
  const other = members[draw < first ? draw : draw + 1]!
  if (isOpen(one, avoid)) return isOpen(other, avoid) && isLighter(other, one) ? other : one
  if (isOpen(other, avoid)) return other
  // Neither is usable, which is rare (a refusal, or a snapshot with full members): take any usable member.
  for (let step = 1; step < count; step++) {
    const member = members[(first + step) % count]!
    if (isOpen(member, avoid)) return member
  }
  return undefined
}

function isOpen<T extends Candidate>(member: T, avoid: ReadonlySet<T> | undefined): boolean {
  return member.state === 'ready' && member.inFlight < member.grant && !avoid?.has(member)
}

/**
 * Whether `a` has fewer requests in flight relative to its free slots; if equal, more free slots. Both have a free
 * slot.
 */
function isLighter(a: Candidate, b: Candidate): boolean {
  const freeOfA = a.grant - a.inFlight
  const freeOfB = b.grant - b.inFlight
  const difference = a.inFlight * freeOfB - b.inFlight * freeOfA
  return difference === 0 ? freeOfA > freeOfB : difference < 0
}
