/**
 * Parses `Cache-Control` strictly: names in any case, quoted values, and not caching in case of doubt (RFC 9111 §4.2.1,
 * §5.2).
 */

/** Directives by lower-case name; `true` for a directive without a value. */
export type Directives = ReadonlyMap<string, string | true>

export const NO_DIRECTIVES: Directives = new Map()

const DIRECTIVE = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"?|([^\s,;"]*)))?/g
const SECONDS = /^[0-9]+$/
/** Larger values count as 2³¹ (RFC 9111 §1.2.2). */
const SECONDS_MAX = 2 ** 31

/** @param value all field lines joined by commas; undefined if there is no field */
export function parseDirectives(value: string | undefined): Directives {
  if (value === undefined || value === '') return NO_DIRECTIVES
  const directives = new Map<string, string | true>()
  for (const [, name, quoted, plain] of value.matchAll(DIRECTIVE)) {
    const lower = name!.toLowerCase()
    const argument = quoted ?? plain ?? true
    const before = directives.get(lower)
    directives.set(lower, before === undefined ? argument : stricter(before, argument))
  }
  return directives
}

/** For a directive that appears twice: the shorter time, or the form without an argument. */
function stricter(one: string | true, other: string | true): string | true {
  if (one === true || other === true) return true
  return seconds(one) <= seconds(other) ? one : other
}

/** The directive's seconds: undefined if it is absent, 0 (stale) if it is not a number (RFC 9111 §4.2.1). */
export function secondsOf(directives: Directives, name: string): number | undefined {
  const value = directives.get(name)
  return value === undefined ? undefined : seconds(value)
}

function seconds(value: string | true): number {
  return value !== true && SECONDS.test(value) ? Math.min(Number(value), SECONDS_MAX) : 0
}
