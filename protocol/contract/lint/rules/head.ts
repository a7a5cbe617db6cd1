/** Rules of `startResponse`, status lines and header fields. Sentences only: `../call.ts` and `../response.ts` check them. */

export const startRules = {
  START_ARGUMENTS: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse takes a status, headers, and perhaps excInfo: two or three arguments.',
  },
  START_TWICE: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse is called once; again only with excInfo.',
  },
  START_LATE: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'startResponse is called before the body gives its first chunk, even an empty one.',
  },
  START_MISSING: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'startResponse is called before the body ends.',
  },
  START_AFTER_END: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'startResponse is not called once the body has ended or was closed.',
  },
  EXC_INFO_VALUE: {
    owes: 'application',
    source: 'PEP 3333, Error Handling',
    sentence: 'excInfo, where it is given, is the error that is being handled; a boolean or a number is none.',
  },
  EXC_INFO_TRAPPED: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable',
    sentence:
      'What startResponse throws back when it was given excInfo goes on to the server: the application does not catch it and carry on.',
  },
  EXC_INFO_RAISED: {
    owes: 'server',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse with excInfo throws excInfo once the head was sent.',
  },
  EXC_INFO_REPLACES: {
    owes: 'server',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse with excInfo replaces a head that was not sent yet, and throws nothing.',
  },
  WRITE_FUNCTION: {
    owes: 'server',
    source: 'PEP 3333, The start_response() Callable',
    sentence: 'startResponse returns write, a function that gives a promise.',
  },
} as const

export const headRules = {
  STATUS_FORM: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable; RFC 9110 §15',
    sentence:
      "A status is a native string of three digits from 100 to 599, one space and a reason, with no control characters and no space at its end ('200 OK').",
  },
  STATUS_INFORMATIONAL: {
    owes: 'application',
    source: 'RFC 9110 §15.2',
    sentence: 'A 1xx status is refused, but for 101 on an upgrade request: it is no response.',
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
      "The headers given to startResponse are not changed afterwards: they are the server's, which may have sent them or may not.",
  },
  HEADER_NAME: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable; RFC 9110 §5.1',
    sentence:
      "A header's name is a token that is not 'Status' and does not end in '-' or '_' (CGI gateways would mistake them).",
  },
  HEADER_VALUE: {
    owes: 'application',
    source: 'PEP 3333, The start_response() Callable; PEP 3333, Unicode Issues',
    sentence: "A header's value is a native string without control characters: neither CR, LF, NUL nor tab.",
  },
  HEADER_HOP_BY_HOP: {
    owes: 'application',
    source: 'PEP 3333, Other HTTP Features; RFC 9110 §7.6.1',
    sentence: 'Hop-by-hop headers are the gateway’s; a 101 response alone carries Connection and Upgrade.',
  },
  HEADER_REPEATED: {
    owes: 'application',
    source: 'RFC 9110 §5.3',
    sentence: 'A header that can hold one value only (Content-Type, Location, ETag…) is given once.',
  },
  HEADER_CONTENT_LENGTH: {
    owes: 'application',
    source: 'PEP 3333, Handling the Content-Length Header; RFC 9110 §8.6',
    sentence: 'Content-Length is given at most once and is a decimal number of bytes.',
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
    sentence: 'A 101, 204, 205 or 304 response has no content, hence no Content-Type.',
  },
} as const
