/**
 * Which member takes a request: a pure function of a snapshot. It neither sends nor queues; `pool.ts` does what it answers.
 *
 * Two members are drawn at random and the less loaded one is taken ("power of two choices", as tower's `balance/p2c`):
 * nearly as even as looking at all of them, in constant time, and without the herd that runs to the one idlest member
 * when several proxies look at the same containers.
 */

export interface Candidate {
  readonly state: string
  /** Requests it runs for us now. */
  readonly inFlight: number
  /** Requests it lets us have in flight at once. */
  readonly grant: number
}

export interface Snapshot<T extends Candidate> {
  readonly members: readonly T[]
  /** Members that must not be taken for this request, since they have refused it already. */
  readonly avoid?: ReadonlySet<T> | undefined
  /** Requests that wait already. */
  readonly queued: number
  /** How many may wait. */
  readonly queueSize: number
}

/** This member; wait in the queue; or no room to wait. */
export type Choice<T> = T | 'wait' | 'refuse'

/** `random` gives numbers in [0, 1), as `Math.random`. */
export function choose<T extends Candidate>(snapshot: Snapshot<T>, random: () => number): Choice<T> {
  const member = pick(snapshot.members, snapshot.avoid, random)
  if (member !== undefined) return member
  return snapshot.queued < snapshot.queueSize ? 'wait' : 'refuse'
}

/** A member with room, or undefined when there is none. */
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
  // A second, different one: drawn from the others by skipping over the first.
  const draw = Math.floor(random() * (count - 1))
  const other = members[draw < first ? draw : draw + 1]!
  if (isOpen(one, avoid)) return isOpen(other, avoid) && isLighter(other, one) ? other : one
  if (isOpen(other, avoid)) return other
  // Both were unfit, which is rare (a refusal, or a snapshot with full members): any fit one will do.
  for (let step = 1; step < count; step++) {
    const member = members[(first + step) % count]!
    if (isOpen(member, avoid)) return member
  }
  return undefined
}

function isOpen<T extends Candidate>(member: T, avoid: ReadonlySet<T> | undefined): boolean {
  return member.state === 'ready' && member.inFlight < member.grant && !avoid?.has(member)
}

/** Fewer in flight relative to its free slots; of equals, the one with more of them. Both have a free slot. */
function isLighter(a: Candidate, b: Candidate): boolean {
  const freeOfA = a.grant - a.inFlight
  const freeOfB = b.grant - b.inFlight
  const difference = a.inFlight * freeOfB - b.inFlight * freeOfA
  return difference === 0 ? freeOfA > freeOfB : difference < 0
}
