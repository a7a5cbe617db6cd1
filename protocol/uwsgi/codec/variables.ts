/**
 * What of a uwsgi peer's variables may reach an environ. nginx sends every client header as `HTTP_*` beside what its
 * configuration says: a client chooses those names and values, an administrator the others.
 *
 * Which header becomes which variable, and which does not cross, is `../../contract/environ.ts`'s; nothing is decoded here either:
 * PATH_INFO came decoded (decoding it again turns `/a%2541b` into `/aAb`).
 */

import { peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'
import { isOwn } from '../../contract/own-variables.ts'

/**
 * uWSGI's "magic variables" that load code, set its process up, or read a file or its cache. Nothing here acts on them;
 * they are dropped so that no application written for uWSGI does either. The others (UWSGI_APPID…) are harmless.
 */
const LOADERS: ReadonlySet<string> = new Set([
  'UWSGI_CACHE_GET',
  'UWSGI_CALLABLE',
  'UWSGI_CHDIR',
  'UWSGI_FILE',
  'UWSGI_HOME',
  'UWSGI_MODULE',
  'UWSGI_PASTE',
  'UWSGI_POSTFILE',
  'UWSGI_PYHOME',
  'UWSGI_SCRIPT',
  'UWSGI_SETENV',
  'UWSGI_TOUCH_RELOAD',
  'UWSGI_VENV',
])

/** A header's name as a variable: a token (RFC 9110 §5.6.2) with `-` as `_`, so that it can be a header's again. */
const HEADER_VARIABLE = /^HTTP_[A-Za-z0-9_!#$%&'*+.^`|~]+$/
const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/

/** A request's variables, fit for an environ, and its body's length in bytes. */
export interface CleanRequest {
  variables: string[]
  length: number
}

/**
 * Cleans `variables` (flat: name, value…). Order and repeated headers are kept; where another name is repeated the last
 * counts, as `uwsgi_param` after `include uwsgi_params` is how an administrator overrides one.
 *
 * @param stripScriptName modifier1 30: PATH_INFO still begins with SCRIPT_NAME
 * @throws RemoteProtocolError (400) `UWSGI_VARIABLE` for a value that could not have come from a valid HTTP request,
 * `UWSGI_CONTENT_LENGTH` for one that is no length, or two that differ
 */
export function cleanRequest(variables: readonly string[], stripScriptName: boolean): CleanRequest {
  const clean: string[] = []
  let method = ''
  let scheme = ''
  let length: number | undefined
  for (let i = 0; i < variables.length; i += 2) {
    const name = variables[i]!
    const value = variables[i + 1]!
    if (name.startsWith('HTTP_')) {
      if (!HEADER_VARIABLE.test(name)) continue
      if (/[\0\r\n]/.test(value)) throw bad(name, value, 'expected a header value without NUL, CR and LF')
    } else {
      switch (name) {
        case '':
          continue
        case 'REQUEST_METHOD':
          if (!TOKEN.test(value)) throw bad(name, value, 'a method is a token')
          method = value
          break
        case 'REQUEST_URI':
          if (/[\0-\x20\x7f]/.test(value))
            throw bad(name, value, 'expected a URL without spaces and control characters')
          break
        case 'QUERY_STRING': // a space can be in it: `set $args` is the administrator's own text
          if (/[\0-\x1f\x7f]/.test(value)) throw bad(name, value, 'expected a query without control characters')
          break
        case 'PATH_INFO':
        case 'SCRIPT_NAME':
          if (value.includes('\0')) throw bad(name, value, 'expected a path without NUL')
          break
        case 'CONTENT_TYPE':
          if (value === '') continue // nginx sends both empty with a GET; an application sees what the client sent
          if (/[\0\r\n]/.test(value)) throw bad(name, value, 'expected a header value without NUL, CR and LF')
          break
        case 'CONTENT_LENGTH': {
          if (value === '') continue
          const given = parseLength(value)
          if (length !== undefined && length !== given) {
            throw peerError(
              'UWSGI_CONTENT_LENGTH',
              `the uwsgi packet has two values of CONTENT_LENGTH: ${length} and ${given}`,
            )
          }
          length = given
          break
        }
        case 'UWSGI_SCHEME':
          scheme = value
          break
        default:
          // Names that only the gateway gives: a peer that set them could pose as it.
          if (isOwn(name) || LOADERS.has(name)) continue
      }
    }
    clean.push(name, value)
  }
  if (method === '')
    throw peerError(
      'UWSGI_VARIABLE',
      'the uwsgi packet has no REQUEST_METHOD; add uwsgi_param REQUEST_METHOD $request_method',
    )
  // uWSGI's own way to say that TLS ended before the web server; it beats the others there.
  if (scheme === 'https' || scheme === 'http')
    clean.push('REQUEST_SCHEME', scheme, 'HTTPS', scheme === 'https' ? 'on' : '')
  if (stripScriptName) takeScriptName(clean)
  // Without a CONTENT_LENGTH there is no body: nothing else says where it would end.
  return { variables: clean, length: length ?? 0 }
}

function parseLength(text: string): number {
  const length = Number(text)
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(length)) {
    throw peerError('UWSGI_CONTENT_LENGTH', `CONTENT_LENGTH is not a number of bytes: ${JSON.stringify(text)}`)
  }
  return length
}

function takeScriptName(clean: string[]): void {
  const script = clean[place(clean, 'SCRIPT_NAME')] ?? ''
  const at = place(clean, 'PATH_INFO')
  if (script === '' || at === -1) return
  const path = clean[at]!
  // At a segment's end only: /app is no prefix of /apple.
  if (path.startsWith(script) && (path.length === script.length || path[script.length] === '/')) {
    clean[at] = path.slice(script.length)
  }
}

/** Where the value of `name` is; -1 when there is none. */
function place(variables: readonly string[], name: string): number {
  for (let i = variables.length - 2; i >= 0; i -= 2) if (variables[i] === name) return i + 1
  return -1
}

function bad(name: string, value: string, rule: string): RemoteProtocolError {
  return peerError('UWSGI_VARIABLE', `the uwsgi variable ${name} is ${JSON.stringify(value)}; ${rule}`)
}
