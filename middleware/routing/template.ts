/**
 * Path patterns and templates for `rewrite` and `redirect`: `/old/*` → `/new/$1`. Both are compiled, and their errors
 * reported, when the middleware is created.
 */

import type { Environ } from '../../protocol/contract/application.ts'
import { cleanQuery, encodedPath } from './location.ts'
import { canonicalHost } from './mount-table.ts'

/** Matches a PATH_INFO, and returns the parts that a template may use. */
export type Pattern = (path: string) => RegExpExecArray | null

/**
 * Compiles a pattern. Text is a whole path, or the beginning of a path if it ends with `*`, whose match is `$1`. A
 * regular expression matches bytes as latin1 and keeps no state between requests (the flags `g` and `y` are ignored).
 *
 * @param label name of the caller, for messages
 * @throws TypeError if the pattern is invalid
 */
export function compilePattern(from: unknown, label: string): Pattern {
  if (from instanceof RegExp) {
    // With these flags a match would begin where the last request's match ended.
    const expression = new RegExp(from.source, from.flags.replace(/[gy]/g, ''))
    return (path) => expression.exec(path)
  }
  if (typeof from !== 'string' || !from.startsWith('/')) {
    throw new TypeError(`${label}: the pattern is ${shown(from)}, expected a path ("/old", "/old/*") or a RegExp`)
  }
  const star = from.indexOf('*')
  if (star !== -1 && star !== from.length - 1) {
    throw new TypeError(`${label}: ${shown(from)} has a "*" before its end; use a RegExp`)
  }
  if (/[?#%]/.test(from)) {
    throw new TypeError(
      `${label}: ${shown(from)} is compared with decoded paths: write it without escapes, "?" and "#"`,
    )
  }
  const bytes = toBytes(star === -1 ? from : from.slice(0, -1))
  const expression = new RegExp(`^${bytes.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}${star === -1 ? '' : '([^]*)'}$`)
  return (path) => expression.exec(path)
}

/** The place of a piece in the result: it determines which characters must be encoded. */
type Where = 'bytes' | 'path' | 'query'

type Piece = (match: RegExpExecArray, environ: Environ) => string

export interface Template {
  readonly text: string
  /** The names of the variables in the template. */
  readonly uses: ReadonlySet<string>
  expand(match: RegExpExecArray, environ: Environ): string
}

/**
 * The variables of a request. `decoded` values are encoded where they are inserted; the others are inserted as the
 * client sent them.
 */
const VARIABLES: Readonly<Record<string, { decoded: boolean; of: (environ: Environ) => string }>> = {
  scheme: { decoded: true, of: (environ) => environ['wsgi.url_scheme'] },
  host: { decoded: true, of: hostOf },
  path: { decoded: true, of: (environ) => environ.PATH_INFO },
  script_name: { decoded: true, of: (environ) => environ.SCRIPT_NAME },
  query: { decoded: false, of: (environ) => environ.QUERY_STRING },
  request_uri: {
    decoded: false,
    of: (environ) => environ.REQUEST_URI.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?]*/, ''),
  },
}

const TOKEN = /\$(?:(\$)|([0-9])|<([^>]*)>|([a-z_]+))|\$/g

/**
 * Compiles a template. `$1`…`$9` and `$<name>` are parts of the match, `$0` is the whole match, `$$` is a dollar sign;
 * `$scheme`, `$host` (without port), `$path` (PATH_INFO), `$script_name`, `$query` and `$request_uri` come from the
 * request.
 *
 * @param where the result: `bytes` of a PATH_INFO, or the `path` or `query` of a URL. The first `?` of a path begins
 *   its query.
 * @throws TypeError if the template contains another variable
 */
export function compileTemplate(text: string, where: Where, label: string): Template {
  const pieces: Piece[] = []
  const uses = new Set<string>()
  let at = 0
  let place = where
  const addText = (literal: string): void => {
    if (literal === '') return
    const encoded = place === 'bytes' ? toBytes(literal) : literalUrl(literal)
    pieces.push(() => encoded)
    if (place === 'path' && /[?#]/.test(literal)) place = 'query'
  }
  for (const found of text.matchAll(TOKEN)) {
    addText(text.slice(at, found.index))
    at = found.index + found[0].length
    const [token, dollar, digit, name, variable] = found
    if (dollar !== undefined) addText('$')
    else if (digit !== undefined) pieces.push(encodedFor(place, (match) => match[Number(digit)] ?? ''))
    else if (name !== undefined) pieces.push(encodedFor(place, (match) => match.groups?.[name] ?? ''))
    else {
      const known = variable !== undefined && Object.hasOwn(VARIABLES, variable) ? VARIABLES[variable] : undefined
      if (known === undefined || (place === 'bytes' && !known.decoded)) {
        throw new TypeError(
          `${label}: ${shown(text)} names ${token}, which ${known ? 'cannot be used in a path' : 'does not exist'}; expected $0 to $9, $<name>, $$ and ${Object.keys(
            VARIABLES,
          )
            .map((one) => `$${one}`)
            .join(', ')}`,
        )
      }
      uses.add(variable!)
      pieces.push(
        known.decoded
          ? encodedFor(place, (_, environ) => known.of(environ))
          : (_, environ) => cleanQuery(known.of(environ)),
      )
    }
  }
  addText(text.slice(at))
  return {
    text,
    uses,
    expand(match, environ) {
      let result = ''
      for (const piece of pieces) result += piece(match, environ)
      return result
    },
  }
}

/** Encodes a decoded value for its place, so that it cannot end the path or a parameter. */
function encodedFor(place: Where, value: Piece): Piece {
  if (place === 'bytes') return value
  if (place === 'path') return (match, environ) => encodedPath(value(match, environ))
  return (match, environ) => encodedPath(value(match, environ)).replace(/[&+=;]/g, percentOf)
}

function percentOf(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

/** Encodes text that a developer wrote as a URL: escapes stay, characters that no URL may contain are encoded. */
export function literalUrl(text: string): string {
  return toBytes(text).replace(
    /[^\x21-\x7e]|["<>\\^`{|}]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}

/** UTF-8 bytes as latin1, as in PATH_INFO. */
export function toBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/** The request's host without port; `''` if it cannot be part of a URL. */
export function hostOf(environ: Environ): string {
  const field = environ['HTTP_HOST']
  const host = canonicalHost(typeof field === 'string' ? field : environ.SERVER_NAME)
  return /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])$/.test(host) ? host : ''
}

export function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : value instanceof RegExp ? String(value) : typeof value
}
