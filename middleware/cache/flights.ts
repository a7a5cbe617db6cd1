/** The flights under way, by URI: which one a request may wait for, and which ones an unsafe request has overtaken. */

import type { Call } from './call.ts'
import type { Flight } from './flight.ts'
import { selects } from './stored.ts'

export class Flights {
  readonly #byUri: Map<string, Set<Flight>> = new Map()

  add(flight: Flight): void {
    const { uri } = flight.plan
    const flights = this.#byUri.get(uri)
    if (flights) flights.add(flight)
    else this.#byUri.set(uri, new Set([flight]))
  }

  delete(flight: Flight): void {
    const { uri } = flight.plan
    const flights = this.#byUri.get(uri)
    if (!flights?.delete(flight)) return
    if (flights.size === 0) this.#byUri.delete(uri)
  }

  /**
   * The one whose response will probably be this call's too: the same key and, of what the key's responses are known to vary on, the same
   * values. Whether it is so is seen by its head.
   *
   * @param known variables that stored ones vary on
   */
  joinable(call: Call, known: () => Set<string>): Flight | undefined {
    const flights = this.#byUri.get(call.uri)
    if (flights === undefined) return undefined
    let names: Set<string> | undefined
    for (const flight of flights) {
      const { plan, verdict } = flight
      if (plan.rest !== call.rest || !plan.open || flight.over || flight.doomed) continue
      if (verdict) {
        if (verdict.kind === 'response' && verdict.head && selects(verdict.head, call.environ, call.authorised))
          return flight
        continue
      }
      names ??= this.#withFlown(flights, call, known())
      let same = true
      for (const name of names) same &&= plan.asked.variables[name] === call.environ[name]
      if (same) return flight
    }
    return undefined
  }

  /** What is under way for that URI is not to be stored, nor waited for from now on. */
  doom(uri: string): void {
    for (const flight of this.#byUri.get(uri) ?? []) flight.doomed = true
  }

  doomAll(): void {
    for (const flights of this.#byUri.values()) for (const flight of flights) flight.doomed = true
  }

  #withFlown(flights: Set<Flight>, call: Call, names: Set<string>): Set<string> {
    for (const { plan, verdict } of flights) {
      if (plan.rest !== call.rest || verdict?.kind !== 'response' || !verdict.head) continue
      for (const name of verdict.head.vary) names.add(name)
    }
    return names
  }
}
