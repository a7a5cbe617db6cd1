/** Rules of the call itself and of the environ it is given. Sentences only: `../environ.ts` checks them. */

export const callRules = {
  CALL_ARGUMENTS: {
    owes: 'server',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'An application is called with exactly two arguments: an environ and startResponse, a function.',
  },
  ENVIRON_OBJECT: {
    owes: 'server',
    source: 'PEP 3333, Specification Details',
    sentence:
      'The environ is a plain object that the application may change: no Map, no array, no instance of a class.',
  },
} as const

export const environRules = {
  ENVIRON_MISSING: {
    owes: 'server',
    source: 'PEP 3333, environ Variables',
    sentence:
      'Every variable that the contract says is always present is present, empty where there is nothing to say.',
  },
  ENVIRON_STRING: {
    owes: 'server',
    source: 'PEP 3333, Unicode Issues',
    sentence: 'Every variable whose name holds no dot is a native string: each code unit is at most U+00FF.',
  },
  ENVIRON_VALUE: {
    owes: 'server',
    source: 'PEP 3333, environ Variables; RFC 3875 §4.1',
    sentence: 'A variable has the form that CGI (RFC 3875) and the contract give it.',
  },
  ENVIRON_RESERVED: {
    owes: 'server',
    source: 'Gantry',
    sentence: "No variable that a client or a peer sent begins with 'wsgi.' or 'gantry': those names are the server's.",
  },
  ENVIRON_CONTENT_HEADER: {
    owes: 'server',
    source: 'RFC 3875 §4.1.18',
    sentence:
      'The content type and length are CONTENT_TYPE and CONTENT_LENGTH, never HTTP_CONTENT_TYPE or HTTP_CONTENT_LENGTH.',
  },
  ENVIRON_PATH: {
    owes: 'server',
    source: 'PEP 3333, environ Variables; RFC 3875 §4.1.5; RFC 3875 §4.1.13',
    sentence:
      "SCRIPT_NAME and PATH_INFO are each empty or begin with '/'; SCRIPT_NAME is never '/' alone; both are empty only for OPTIONS of the whole server (the target '*', or an absolute one without a path).",
  },
  ENVIRON_HOP_BY_HOP: {
    owes: 'server',
    source: 'PEP 3333, Other HTTP Features; RFC 9110 §7.6.1',
    sentence:
      'Hop-by-hop headers do not cross, but for Upgrade and Connection on an upgrade request; nor does Proxy (httpoxy).',
  },
  ENVIRON_WSGI: {
    owes: 'server',
    source: 'PEP 3333, environ Variables',
    sentence: "The wsgi.* variables are there with the types of PEP 3333, made promises where Python's would block.",
  },
  RAW_HEADERS: {
    owes: 'server',
    source: 'Gantry',
    sentence:
      'The HTTP_* variables, CONTENT_TYPE and CONTENT_LENGTH say what environ.gantry.rawHeaders says; middleware edits both at once, through setHeader.',
  },
} as const
