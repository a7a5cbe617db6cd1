/** The rules for `startResponse`, status and header fields. `../linted-call.ts` and `../response.ts` check them. */

export const startRules = {
  START_ARGUMENTS: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse takes two or three arguments: a status, headers, and optionally excInfo.',
  },
  START_TWICE: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse is called once; a further call has excInfo.',
  },
  START_LATE: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'startResponse is called before the body yields its first chunk, even if the chunk is empty.',
  },
  START_MISSING: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'startResponse is called before the body ends.',
  },
  START_AFTER_END: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'startResponse is not called after the body has ended or was closed.',
  },
  EXC_INFO_VALUE: {
    owes: 'application',
    source: 'PEP 3333, Error Handling',
    sentence: 'excInfo is the error that is being handled; it is not a boolean or a number.',
  },
  EXC_INFO_TRAPPED: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence:
      'If startResponse throws excInfo, the error passes to the server: the application does not catch it and continue.',
  },
  EXC_INFO_RAISED: {
    owes: 'server',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse with excInfo throws excInfo if the head was sent.',
  },
  EXC_INFO_REPLACES: {
    owes: 'server',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse with excInfo replaces a head that was not sent, and throws nothing.',
  },
  WRITE_FUNCTION: {
    owes: 'server',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse returns write, a function that returns a promise.',
  },
} as const

export const headRules = {
  STATUS_FORM: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable; RFC 9110 §15',
    sentence:
      "A status is a native string of three digits from 100 to 599, one space and a reason, without control characters and without a trailing space ('200 OK').",
  },
  STATUS_INFORMATIONAL: {
    owes: 'application',
    source: 'RFC 9110 §15.2',
    sentence: 'A 1xx status is not a response and is refused, except 101 on an upgrade request.',
  },
  HEADERS_ARRAY: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'Headers are an array of [name, value] pairs of strings.',
  },
  HEADERS_CHANGED: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence:
      'The application does not change the headers after it has passed them to startResponse: they belong to the server, which may have sent them.',
  },
  HEADER_NAME: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable; RFC 9110 §5.1',
    sentence:
      "A header name is a token that is not 'Status' and does not end in '-' or '_', which CGI gateways would misread.",
  },
  HEADER_VALUE: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable; PEP 3333, Unicode Issues',
    sentence: 'A header value is a native string without control characters: no CR, LF, NUL or tab.',
  },
  HEADER_HOP_BY_HOP: {
    owes: 'application',
    source: 'PEP 3333, Other HTTP Features; RFC 9110 §7.6.1',
    sentence: 'Only the gateway sets hop-by-hop headers; a 101 response may have Connection and Upgrade.',
  },
  HEADER_REPEATED: {
    owes: 'application',
    source: 'RFC 9110 §5.3',
    sentence: 'A header that has a single value (Content-Type, Location, ETag…) is set once.',
  },
  HEADER_CONTENT_LENGTH: {
    owes: 'application',
    source: 'PEP 3333, Handling the Content-Length Header; RFC 9110 §8.6',
    sentence: 'Content-Length is set at most once and is a decimal number of bytes.',
  },
  CONTENT_LENGTH_PRESENT: {
    owes: 'application',
    source: 'RFC 9110 §8.6',
    sentence: 'A 101 or 204 response has no Content-Length.',
  },
  CONTENT_TYPE_MISSING: {
    owes: 'application',
    source: 'RFC 9110 §8.3',
    sentence: 'A response that may have content has a Content-Type.',
  },
  CONTENT_TYPE_PRESENT: {
    owes: 'application',
    source: 'RFC 9110 §6.4.1',
    sentence: 'A 101, 204, 205 or 304 response has no content, and so no Content-Type.',
  },
} as const
