/**
 * The rules that `lint` checks: a stable code and the sentence that states the rule, by who owes it.
 *
 * These sentences are the specification (the contract's page in the manual is made from them), so a check without a
 * sentence here cannot be written: `Fail` takes only these codes. How a rule is checked is not known here.
 */

/** What a server (gateway, or middleware facing its application) owes the application. */
export const serverRules = {
  CALL_ARGUMENTS: 'An application is called with exactly two arguments: an environ and startResponse, a function.',
  ENVIRON_OBJECT: 'The environ is a plain object that the application may change.',
  ENVIRON_MISSING: 'Every variable that the contract says is always present is present.',
  ENVIRON_STRING: 'Every variable whose name holds no dot is a native string: each code unit is at most U+00FF.',
  ENVIRON_VALUE: 'A variable has the form that CGI (RFC 3875) and the contract give it.',
  ENVIRON_CONTENT_HEADER:
    'The content type and length are CONTENT_TYPE and CONTENT_LENGTH, never HTTP_CONTENT_TYPE or HTTP_CONTENT_LENGTH.',
  ENVIRON_PATH:
    "SCRIPT_NAME and PATH_INFO are each empty or begin with '/'; SCRIPT_NAME is never '/' alone; both are empty only for the target '*' or at a mount's root.",
  ENVIRON_HOP_BY_HOP:
    'Hop-by-hop headers do not cross, but for Upgrade and Connection on an upgrade request; nor does Proxy (httpoxy).',
  ENVIRON_WSGI: "The wsgi.* variables are there with the types of PEP 3333, made promises where Python's would block.",
  ENVIRON_CONTEXT: 'environ.gantry is a request context: signal, requestId, rawHeaders and the three response hooks.',
  RAW_HEADERS: 'The HTTP_* variables and environ.gantry.rawHeaders say the same.',
  INPUT_RESULT:
    'Reads of wsgi.input give promises of bytes (readlines: of an array of them), never more than asked for.',
  INPUT_AFTER_END: 'Once a read came short, the input is at its end and stays there.',
  INPUT_TRAILERS: 'wsgi.input.trailers is a promise of [name, value] pairs.',
  WRITE_FUNCTION: 'startResponse returns write, a function that gives a promise.',
  EXC_INFO_RAISED: 'startResponse with excInfo throws excInfo once the head was sent.',
  BODY_ITERATED_TWICE: 'The body is iterated at most once.',
  NEXT_WHILE_PENDING: 'The next chunk is not asked for while one is pending.',
  NEXT_AFTER_CLOSE: 'The body is not iterated after close().',
  CLOSE_TWICE: 'close() is called exactly once: not twice.',
  CLOSE_MISSING: 'close() is called exactly once, on every path: full body, abort, error, deadline, HEAD.',
  ITERATOR_LEFT_OPEN:
    "An iterator that was not read to its end has its return() run, so that a generator's finally runs.",
} as const

/** What an application (or middleware facing its server) owes the server. */
export const applicationRules = {
  START_ARGUMENTS: 'startResponse takes a status, headers, and perhaps excInfo: two or three arguments.',
  START_TWICE: 'startResponse is called once; again only with excInfo.',
  START_LATE: 'startResponse is called before the body gives its first chunk, even an empty one.',
  START_MISSING: 'startResponse is called before the body ends.',
  START_AFTER_END: 'startResponse is not called once the body has ended or was closed.',
  STATUS_FORM:
    "A status is a native string of three digits from 100 to 599, one space and a reason, with no control characters and no space at its end ('200 OK').",
  STATUS_INFORMATIONAL: 'A 1xx status is refused, but for 101 on an upgrade request.',
  HEADERS_ARRAY: 'Headers are an array of [name, value] pairs of strings.',
  HEADER_NAME:
    "A header's name is a token (RFC 9110 §5.1) that is not 'Status' and does not end in '-' or '_' (CGI gateways would mistake them).",
  HEADER_VALUE: "A header's value is a native string without control characters: neither CR, LF, NUL nor tab.",
  HEADER_HOP_BY_HOP:
    'Hop-by-hop headers (RFC 9110 §7.6.1) are the gateway’s; a 101 response alone carries Connection and Upgrade.',
  HEADER_CONTENT_LENGTH: 'Content-Length is given at most once and is a decimal number of bytes.',
  CONTENT_TYPE_MISSING: 'A response that may have content has a Content-Type.',
  CONTENT_TYPE_PRESENT: 'A 101, 204, 205 or 304 response has no content, hence no Content-Type.',
  BODY_ITERABLE: 'The body is an iterable or async iterable of Uint8Array, and not itself a string or a Uint8Array.',
  BODY_RESULT:
    "The body's iterator keeps to its protocol: next() gives a result object, from an async iterator a promise of one.",
  BODY_CLOSE: "The body's close, if it has one, is a function.",
  CHUNK_TYPE: 'Every chunk is a Uint8Array, not a string: text is encoded by who knows its encoding.',
  CONTENT_TOO_LONG: 'The body has no more bytes than its Content-Length says.',
  CONTENT_TOO_SHORT: 'The body has no fewer bytes than its Content-Length says.',
  WRITE_ARGUMENTS: 'write takes one argument.',
  WRITE_WHILE_ITERATED: 'write is not called once the body is being iterated.',
  WRITE_AFTER_END: 'write is not called once the body has ended or was closed.',
  READ_SIZE: 'The size of a read of wsgi.input is a whole number of bytes, negative or absent for all.',
  READ_WHILE_READING: 'wsgi.input is read by one read at a time.',
  READ_AFTER_CLOSE: 'The input is not read once the body was closed.',
  ERRORS_TEXT: 'wsgi.errors takes strings.',
  TRAILERS_FUNCTION: 'environ.gantry.trailers takes a function that gives the fields (or a promise of them).',
  TRAILERS_FIELD: 'Trailer fields are none that framing, routing or the content itself depend on (RFC 9110 §6.5.1).',
  UPGRADE_ORDER: "environ.gantry.upgrade() is called after startResponse('101 …').",
} as const

export type ServerRule = keyof typeof serverRules
export type ApplicationRule = keyof typeof applicationRules
export type RuleCode = ServerRule | ApplicationRule
export type Blame = 'server' | 'application'

/** One side broke the contract. `code` is stable; `rule` is the sentence that was broken. */
export class ContractError extends Error {
  override readonly name: string = 'ContractError'
  readonly code: RuleCode
  readonly blame: Blame
  readonly rule: string

  constructor(code: RuleCode, detail: string) {
    const blame: Blame = code in serverRules ? 'server' : 'application'
    const rule: string = { ...serverRules, ...applicationRules }[code]
    super(`the ${blame} broke the contract, ${code}: ${detail}. ${rule}`)
    this.code = code
    this.blame = blame
    this.rule = rule
  }
}

/** Reports a broken rule: throws a ContractError, unless that side is not being checked. */
export type Fail = (code: RuleCode, detail: string) => void

/** A value as a short piece of a sentence. */
export function show(value: unknown): string {
  let text: string
  if (typeof value === 'string') text = JSON.stringify(value)
  else if (typeof value === 'function') text = `function ${value.name || '(anonymous)'}`
  else if (typeof value === 'object' && value !== null) {
    text = Array.isArray(value)
      ? `an array of ${value.length}`
      : `a ${value.constructor?.name ?? 'null-prototype object'}`
  } else text = String(value)
  return text.length > 120 ? `${text.slice(0, 117)}…` : text
}
