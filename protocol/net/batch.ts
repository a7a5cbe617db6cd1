/**
 * Answers of one turn of the event loop leave together, at its end. Each write wakes who reads it; one that is written between two
 * requests is read, and its reader asleep again, before the next, while those that follow each other at once find it awake. Measured on
 * loopback with 64 clients: two thirds of the CPU time for each request, and half as many again answered. With one client there is
 * nothing to gain, and the wait for the turn's end would cost a twentieth.
 *
 * And requests of one turn are looked at together, after all have been read, and then begun together, so that each step finds its code still in the
 * processor's caches: measured in the same way, three quarters of the CPU time at a container's port and five sixths in a proxy, with a third and a tenth
 * more answered.
 *
 * It knows what waits, and for how long; what arriving, beginning and leaving mean is theirs.
 */

import { runIsolated } from '../contract/isolated.ts'
import type { Clock } from './clock.ts'

/** Something that came. */
export interface Arriving {
  /** The moment to look at it. */
  arrive(): void
}

/** Something that came and has been looked at. */
export interface Beginning {
  /** The moment to act on it. */
  begin(): void
}

/** Something that has to be sent. */
export interface Leaving {
  /** The moment to send it. */
  leave(): void
}

/**
 * How long answers wait for others, ms: for some dozens of small ones. An application that computes for longer holds up nobody's answer but
 * those of requests that came with its own.
 */
const LONG = 1

/**
 * Requests that take longer than this to begin, each in the mean, ms, have an application that computes; without one it is a tenth of it. What the first
 * of them has already found (by a promise, say) would wait until all others have computed too.
 */
const COMPUTES = 0.5
/** For so many turns requests are then begun as they come. */
const APART = 64

const turns: WeakMap<Clock, Turn> = new WeakMap()

export class Turn {
  readonly #clock: Clock
  #arriving: Arriving[] = []
  #beginning: Beginning[] = []
  #leaving: Leaving[] = []
  #after: Leaving[] = []
  /** What came is being looked at, and then acted on. */
  #step: 'arrive' | 'begin' | undefined
  #under = false
  /** How many had something to send in this turn. */
  #count = 0
  /** Whether several had in the turn before. */
  #several = false
  /** Turns to come in which all that comes is looked at by itself. */
  #apart = 0
  /** This turn, or the part of it after those that left before its end. */
  #began = 0

  private constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The turn of all that keep time by `clock`. */
  static of(clock: Clock): Turn {
    let turn = turns.get(clock)
    if (!turn) turns.set(clock, (turn = new Turn(clock)))
    return turn
  }

  /** Something came, and may be answered in this turn. */
  begin(): void {
    if (this.#under) return
    this.#under = true
    this.#began = this.#clock.now()
    setImmediate(end, this)
  }

  /**
   * Whether `one` is looked at later in this turn, together with all that come in it: `arrive` is called then, once. Else it is alone, and is to be
   * looked at by its caller.
   */
  arrives(one: Arriving): boolean {
    this.begin()
    if (!this.#several || this.#apart > 0 || this.#step !== undefined) return false
    this.#arriving.push(one)
    return true
  }

  /** Whether `one`, which is being looked at with others, begins once all have been: `begin` is called then, once. Else it is alone. */
  begins(one: Beginning): boolean {
    if (this.#step !== 'arrive') return false
    this.#beginning.push(one)
    return true
  }

  /** Whether `one` is sent after all that came has been acted on: `leave` is called then, once. Else nothing is acted on now. */
  leaveAfter(one: Leaving): boolean {
    if (this.#step === undefined) return false
    this.#after.push(one)
    return true
  }

  /**
   * Lets `one` leave at this turn's end, or before when it takes long. At once when it is the first of its turn and the turn before had no
   * more: who is alone waits for nobody. Called once until it has left.
   */
  leave(one: Leaving): void {
    this.begin()
    if (++this.#count === 1 && !this.#several) {
      one.leave()
      return
    }
    this.#leaving.push(one)
    this.hurry()
  }

  /** Whether so much time has gone by since the turn began, or since this was last so, that what waits leaves now: it has. */
  hurry(): boolean {
    if (!this.#under) return false
    const now = this.#clock.now()
    if (now - this.#began <= LONG) return false
    this.#began = now
    this.#leave()
    return true
  }

  /** For `setImmediate`. */
  end(): void {
    // Who waits for an answer goes before who has just asked.
    this.#leave()
    if (this.#apart > 0) this.#apart--
    this.#arrive()
    this.#under = false
    this.#several = this.#count > 1
    this.#count = 0
    this.#leave()
  }

  #arrive(): void {
    const arriving = this.#arriving
    if (arriving.length === 0) return
    this.#arriving = []
    const began = this.#clock.now()
    this.#step = 'arrive'
    for (const one of arriving) guarded(one.arrive, one)
    this.#step = 'begin'
    const beginning = this.#beginning
    this.#beginning = []
    for (const one of beginning) guarded(one.begin, one)
    this.#step = undefined
    const after = this.#after
    this.#after = []
    for (const one of after) guarded(one.leave, one)
    if (this.#clock.now() - began > COMPUTES * arriving.length) this.#apart = APART
  }

  #leave(): void {
    const leaving = this.#leaving
    if (leaving.length === 0) return
    this.#leaving = []
    for (const one of leaving) guarded(one.leave, one)
  }
}

/** Whatever one of them does, the others have their moment: an error is told as one that nobody caught, as it would be in a callback of its own. */
function guarded<T>(act: (this: T) => void, one: T): void {
  try {
    runIsolated(act, one)
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}

function end(turn: Turn): void {
  // Whoever began it was one of many.
  runIsolated(turn.end, turn)
}
