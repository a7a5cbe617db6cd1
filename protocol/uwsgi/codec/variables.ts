/**
 * Decides which variables of a uwsgi peer may reach an environ. nginx sends each header of the client as `HTTP_*`,
 * beside the variables of its configuration: the client chooses the names and values of the former, an administrator
 * the latter. Decodes nothing: PATH_INFO arrives decoded (decoding it again would turn `/a%2541b` into `/aAb`).
 */

import { HEADER_VARIABLE, isReservedVariable } from '../../contract/cgi-variables.ts'
import { peerError } from '../../contract/coded-errors.ts'
import type { RemoteProtocolError } from '../../contract/errors.ts'
import { TOKEN } from '../../contract/token.ts'

/**
 * uWSGI's "magic variables" that load code, configure its process, or read a file or its cache. Gantry ignores them;
 * they are dropped so that no application written for uWSGI uses them either. The others (UWSGI_APPID…) are harmless.
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

/** The variables of a request that may reach an environ, and the length of its body in bytes. */
interface CleanRequest {
  variables: string[]
  length: number
}

/**
 * Removes variables that may not reach an environ, and checks the others. Order and repeated headers are kept. Of
 * another repeated name the last counts: an administrator overrides a variable with `uwsgi_param` after `include
 * uwsgi_params`.
 *
 * @param variables flat: name, value…
 * @param stripScriptName whether PATH_INFO begins with SCRIPT_NAME (modifier1 30)
 * @throws RemoteProtocolError (400) `UWSGI_VARIABLE` if a value cannot come from a valid HTTP request,
 *   `UWSGI_CONTENT_LENGTH` if a length is invalid, or two lengths differ
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
        case 'QUERY_STRING': // may contain a space: an administrator may have written it (`set $args`)
          if (/[\0-\x1f\x7f]/.test(value)) throw bad(name, value, 'expected a query without control characters')
          break
        case 'PATH_INFO':
        case 'SCRIPT_NAME':
          if (value.includes('\0')) throw bad(name, value, 'expected a path without NUL')
          break
        case 'CONTENT_TYPE':
          if (value === '') continue // nginx sends both empty with a GET; the client has sent neither
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
          // Names that only the gateway sets: a peer that sets them could impersonate it.
          if (isReservedVariable(name) || LOADERS.has(name)) continue
      }
    }
    clean.push(name, value)
  }
  if (method === '')
    throw peerError(
      'UWSGI_VARIABLE',
      'the uwsgi packet has no REQUEST_METHOD; add uwsgi_param REQUEST_METHOD $request_method',
    )
  // uWSGI's own variable for TLS that was terminated before the web server: it overrides the others, as in uWSGI.
  if (scheme === 'https' || scheme === 'http')
    clean.push('REQUEST_SCHEME', scheme, 'HTTPS', scheme === 'https' ? 'on' : '')
  if (stripScriptName) takeScriptName(clean)
  // Without a CONTENT_LENGTH there is no body: nothing else says where a body would end.
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
  // Only at the end of a segment: /app is not a prefix of /apple.
  if (path.startsWith(script) && (path.length === script.length || path[script.length] === '/')) {
    clean[at] = path.slice(script.length)
  }
}

/** Index of the value of `name`; -1 if there is none. */
function place(variables: readonly string[], name: string): number {
  for (let i = variables.length - 2; i >= 0; i -= 2) if (variables[i] === name) return i + 1
  return -1
}

function bad(name: string, value: string, rule: string): RemoteProtocolError {
  return peerError('UWSGI_VARIABLE', `the uwsgi variable ${name} is ${JSON.stringify(value)}; ${rule}`)
}
