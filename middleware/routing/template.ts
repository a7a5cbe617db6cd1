/**
 * Patterns of paths and templates of what becomes of them, for `rewrite` and `redirect`: `/old/*` → `/new/$1`. It reads them once and says
 * what is wrong with them then; it edits no environ and sends nothing.
 */

import type { Environ } from '../../protocol/contract/application.ts'
import { cleanQuery, encodedPath } from './location.ts'
import { canonicalHost } from './mount-table.ts'

/** Finds in a path, which is PATH_INFO, what a template may use. */
export type Pattern = (path: string) => RegExpExecArray | null

/**
 * Text is a whole path, or its beginning when it ends in `*`, which then is `$1`. A regular expression sees the path as bytes as latin1,
 * and keeps nothing between requests (`g` and `y` do not count).
 *
 * @param label whose argument it is, for messages
 * @throws TypeError
 */
export function compilePattern(from: unknown, label: string): Pattern {
  if (from instanceof RegExp) {
    // Those two would make it begin where the last request's match ended.
    const expression = new RegExp(from.source, from.flags.replace(/[gy]/g, ''))
    return (path) => expression.exec(path)
  }
  if (typeof from !== 'string' || !from.startsWith('/')) {
    throw new TypeError(`${label}: the pattern is ${shown(from)}, expected a path ("/old", "/old/*") or a RegExp`)
  }
  const star = from.indexOf('*')
  if (star !== -1 && star !== from.length - 1) {
    throw new TypeError(`${label}: ${shown(from)} has a "*" that is not its end; a RegExp can say more`)
  }
  if (/[?#%]/.test(from)) {
    throw new TypeError(`${label}: ${shown(from)} is compared with decoded paths: written without escapes, "?" and "#"`)
  }
  const bytes = toBytes(star === -1 ? from : from.slice(0, -1))
  const expression = new RegExp(`^${bytes.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}${star === -1 ? '' : '([^]*)'}$`)
  return (path) => expression.exec(path)
}

/** Where in the result a piece is: what may stand there differs. */
type Where = 'bytes' | 'path' | 'query'

type Piece = (match: RegExpExecArray, environ: Environ) => string

export interface Template {
  readonly text: string
  /** The names of the variables in it. */
  readonly uses: ReadonlySet<string>
  expand(match: RegExpExecArray, environ: Environ): string
}

/** What of a request a template may name. `decoded` ones are encoded where they are put; the others are as the client sent them. */
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
 * `$1`…`$9` and `$<name>` are the pattern's, `$0` is all that it matched, `$$` is a dollar; `$scheme`, `$host` (without port), `$path`
 * (PATH_INFO), `$script_name`, `$query` and `$request_uri` are the request's.
 *
 * @param where what it makes: `bytes` of a PATH_INFO, or the `path` or `query` of a URL. A path's first `?` begins its query.
 * @throws TypeError for another variable
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
    else if (digit !== undefined) pieces.push(putting(place, (match) => match[Number(digit)] ?? ''))
    else if (name !== undefined) pieces.push(putting(place, (match) => match.groups?.[name] ?? ''))
    else {
      const known = variable !== undefined && Object.hasOwn(VARIABLES, variable) ? VARIABLES[variable] : undefined
      if (known === undefined || (place === 'bytes' && !known.decoded)) {
        throw new TypeError(
          `${label}: ${shown(text)} names ${token}, which ${known ? 'has no place in a path' : 'is nothing'}; known are $0 to $9, $<name>, $$ and ${Object.keys(
            VARIABLES,
          )
            .map((one) => `$${one}`)
            .join(', ')}`,
        )
      }
      uses.add(variable!)
      pieces.push(
        known.decoded
          ? putting(place, (_, environ) => known.of(environ))
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

/** A value of decoded bytes, encoded for its place: nothing in it ends the path or a parameter there. */
function putting(place: Where, value: Piece): Piece {
  if (place === 'bytes') return value
  if (place === 'path') return (match, environ) => encodedPath(value(match, environ))
  return (match, environ) => encodedPath(value(match, environ)).replace(/[&+=;]/g, percentOf)
}

function percentOf(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

/** Text that a developer wrote as a URL: escapes stay, what no URL may hold is escaped. */
export function literalUrl(text: string): string {
  return toBytes(text).replace(
    /[^\x21-\x7e]|["<>\\^`{|}]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}

/** UTF-8 as latin1: what PATH_INFO is. */
export function toBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/** The request's host without port: `''` when it is none that may stand in a URL. */
export function hostOf(environ: Environ): string {
  const field = environ['HTTP_HOST']
  const host = canonicalHost(typeof field === 'string' ? field : environ.SERVER_NAME)
  return /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])$/.test(host) ? host : ''
}

export function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : value instanceof RegExp ? String(value) : typeof value
}
