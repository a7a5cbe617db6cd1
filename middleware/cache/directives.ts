/**
 * `Cache-Control`, read strictly: names in any case, quoted values whole, doubt resolved towards not caching
 * (RFC 9111 §4.2.1, §5.2). It knows no request and no response.
 */

/** Directives by lower-case name; `true` for one without a value. */
export type Directives = ReadonlyMap<string, string | true>

export const NO_DIRECTIVES: Directives = new Map()

const DIRECTIVE = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"?|([^\s,;"]*)))?/g
const SECONDS = /^[0-9]+$/
/** RFC 9111 §1.2.2: what is greater counts as 2³¹. */
const SECONDS_MAX = 2 ** 31

/** @param value all field lines joined by commas; undefined for none */
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

/** Of a directive that was given twice: the shorter time, or the one without exceptions. */
function stricter(one: string | true, other: string | true): string | true {
  if (one === true || other === true) return true
  return seconds(one) <= seconds(other) ? one : other
}

/** A number of seconds: 0, which is stale, for what is none (RFC 9111 §4.2.1); undefined when the directive is not there. */
export function secondsOf(directives: Directives, name: string): number | undefined {
  const value = directives.get(name)
  return value === undefined ? undefined : seconds(value)
}

function seconds(value: string | true): number {
  return value !== true && SECONDS.test(value) ? Math.min(Number(value), SECONDS_MAX) : 0
}
