/**
 * The one table of environ variables that are not request headers (PEP 3333, RFC 3875 §4.1). Lint, the frames, CGI
 * and the cache derive their lists from this table.
 */

/** What Gantry knows about one CGI variable. */
interface CgiVariable {
  readonly name: string
  /**
   * - `required`: every environ has the variable, and a peer must send it
   * - `always`: every environ has the variable; a gateway fills it in if the peer did not send it
   * - `optional`: the variable is absent if it does not apply
   */
  readonly presence: 'required' | 'always' | 'optional'
  /** The variable describes the client or its user. */
  readonly personal: boolean
  /** The index of the name in the static table of the frames (`frames/SPEC.md`). It never changes. */
  readonly wire?: number
}

const row = (
  name: string,
  presence: CgiVariable['presence'],
  wire?: number,
  personal: 'personal' | '' = '',
): CgiVariable => ({ name, presence, personal: personal === 'personal', ...(wire === undefined ? {} : { wire }) })

/** The variables of RFC 3875 §4.1, then the variables that Apache and nginx (fastcgi_params) set besides. */
export const CGI_VARIABLES: readonly CgiVariable[] = [
  row('REQUEST_METHOD', 'required', 0),
  row('SCRIPT_NAME', 'required', 1),
  row('PATH_INFO', 'required', 2),
  row('QUERY_STRING', 'required', 3),
  row('SERVER_NAME', 'required', 5),
  row('SERVER_PORT', 'required', 6),
  row('SERVER_PROTOCOL', 'required', 7),
  row('SERVER_SOFTWARE', 'always', 8),
  row('GATEWAY_INTERFACE', 'always', 9),
  row('REMOTE_ADDR', 'always', 10, 'personal'),
  row('CONTENT_TYPE', 'optional', 14),
  row('CONTENT_LENGTH', 'optional', 15),
  row('REMOTE_USER', 'optional', 18, 'personal'),
  row('AUTH_TYPE', 'optional', 19, 'personal'),
  row('PATH_TRANSLATED', 'optional', 20),
  row('REMOTE_HOST', 'optional', 22, 'personal'),
  row('REMOTE_IDENT', 'optional', 23, 'personal'),

  row('REQUEST_URI', 'always', 4),
  row('REMOTE_PORT', 'always', 11, 'personal'),
  row('REQUEST_SCHEME', 'always', 12),
  row('HTTPS', 'optional', 13),
  row('DOCUMENT_ROOT', 'optional', 16),
  row('DOCUMENT_URI', 'optional', 17),
  row('SCRIPT_FILENAME', 'optional', 21),
  row('CONTEXT_DOCUMENT_ROOT', 'optional'),
  row('CONTEXT_PREFIX', 'optional'),
  row('REDIRECT_QUERY_STRING', 'optional'),
  row('REDIRECT_STATUS', 'optional'),
  row('REDIRECT_URL', 'optional'),
  row('SERVER_ADDR', 'optional'),
  row('SERVER_ADMIN', 'optional'),
  row('UNIQUE_ID', 'optional'),
]

/** The names of the variables for which `matches` returns true, in the order of the table. */
export function cgiVariableNames(matches: (variable: CgiVariable) => boolean = () => true): readonly string[] {
  return CGI_VARIABLES.filter(matches).map(({ name }) => name)
}

/** The `wsgi.*` variables that every environ has. */
export const WSGI_VARIABLES = [
  'wsgi.version',
  'wsgi.url_scheme',
  'wsgi.input',
  'wsgi.errors',
  'wsgi.multithread',
  'wsgi.multiprocess',
  'wsgi.run_once',
  'wsgi.file_wrapper',
  'wsgi.input_terminated',
] as const

/** The value of `SERVER_SOFTWARE` in every environ. */
export const SERVER_SOFTWARE = 'gantry'
/** The value of `GATEWAY_INTERFACE` in every environ (RFC 3875 §4.1.4). */
export const GATEWAY_INTERFACE = 'CGI/1.1'

/**
 * A request header as a variable. The rest of the name is a token (RFC 9110 §5.6.2) with `_` for `-`, so that it can be
 * translated back.
 */
export const HEADER_VARIABLE: RegExp = /^HTTP_[A-Za-z0-9_!#$%&'*+.^`|~]+$/

/**
 * Whether only the process that creates an environ may set the variable (`wsgi.*`, `gantry*`): no peer may send it, and
 * it is sent to no peer. The first letter is compared first, since most names begin with another letter.
 */
export function isReservedVariable(name: string): boolean {
  const letter = name.charCodeAt(0)
  return (letter === 0x77 && name.startsWith('wsgi.')) || (letter === 0x67 && name.startsWith('gantry'))
}
