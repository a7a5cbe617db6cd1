/** The rules for the call and for the environ. `../environ.ts` checks them. */

export const callRules = {
  CALL_ARGUMENTS: {
    owes: 'server',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'The server calls an application with exactly two arguments: an environ and startResponse, a function.',
  },
  ENVIRON_OBJECT: {
    owes: 'server',
    source: 'PEP 3333, Specification Details',
    sentence:
      'The environ is a plain object that the application may change: not a Map, not an array, not an instance of a class.',
  },
} as const

export const environRules = {
  ENVIRON_MISSING: {
    owes: 'server',
    source: 'PEP 3333, environ Variables',
    sentence: 'Every variable that the contract requires is present; it is empty if it has no value.',
  },
  ENVIRON_STRING: {
    owes: 'server',
    source: 'PEP 3333, Unicode Issues',
    sentence: 'Every variable whose name contains no dot is a native string: each code unit is at most U+00FF.',
  },
  ENVIRON_VALUE: {
    owes: 'server',
    source: 'PEP 3333, environ Variables; RFC 3875 §4.1',
    sentence: 'A variable has the form that CGI (RFC 3875) and the contract define.',
  },
  ENVIRON_RESERVED: {
    owes: 'server',
    source: 'Gantry',
    sentence:
      "No variable from a client or a peer begins with 'wsgi.' or 'gantry': these names are reserved for the server.",
  },
  ENVIRON_CONTENT_HEADER: {
    owes: 'server',
    source: 'RFC 3875 §4.1.18',
    sentence:
      'The content type and length are in CONTENT_TYPE and CONTENT_LENGTH, never in HTTP_CONTENT_TYPE or HTTP_CONTENT_LENGTH.',
  },
  ENVIRON_PATH: {
    owes: 'server',
    source: 'PEP 3333, environ Variables; RFC 3875 §4.1.5; RFC 3875 §4.1.13',
    sentence:
      "SCRIPT_NAME and PATH_INFO are each empty or begin with '/'; SCRIPT_NAME is never '/'; both are empty only for OPTIONS of the whole server (the target is '*', or an absolute URL without a path).",
  },
  ENVIRON_HOP_BY_HOP: {
    owes: 'server',
    source: 'PEP 3333, Other HTTP Features; RFC 9110 §7.6.1',
    sentence:
      'Hop-by-hop headers are not passed on, except Upgrade and Connection of an upgrade request; Proxy is not passed on either (httpoxy).',
  },
  ENVIRON_WSGI: {
    owes: 'server',
    source: 'PEP 3333, environ Variables',
    sentence:
      'The wsgi.* variables are present with the types of PEP 3333; operations that block in Python return promises.',
  },
  RAW_HEADERS: {
    owes: 'server',
    source: 'Gantry',
    sentence:
      'The HTTP_* variables, CONTENT_TYPE and CONTENT_LENGTH agree with environ.gantry.rawHeaders; middleware changes both together with setHeader.',
  },
} as const
