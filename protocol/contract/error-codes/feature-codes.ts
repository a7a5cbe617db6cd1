/** Codes of what not every server uses: uwsgi, CGI, middleware. `error-codes.ts` says how to read a row. */

/** A web server speaks uwsgi to Gantry. */
export const uwsgiCodes = {
  UWSGI_PACKET: {
    means:
      'The bytes are not a uwsgi packet. The connection is closed without a response, and the access line has the status 0.',
    fix: 'Let the web server use `uwsgi_pass` (nginx) or `proxy:uwsgi` (HAProxy, Apache) for this port.',
  },
  UWSGI_MODIFIER: {
    means:
      'The packet has a modifier1 other than 0, 30 and 100. The connection is closed without a response, and the access line has the status 0.',
    fix: 'Remove `uwsgi_modifier1` from the configuration of the web server.',
  },
  UWSGI_VARIABLE: {
    status: 400,
    means: 'A variable has an invalid value, or `REQUEST_METHOD` is missing.',
    fix: 'Correct the `uwsgi_param` lines of the web server; `include uwsgi_params` has all that are needed.',
  },
  UWSGI_CONTENT_LENGTH: {
    status: 400,
    means: '`CONTENT_LENGTH` is not a decimal number, or the packet has two different ones.',
    fix: 'Correct the `uwsgi_param` lines of the web server.',
  },
  RESERVED_VARIABLE: {
    status: 400,
    means: 'The web server, or a proxy over frames, sent a variable that only Gantry may set (`gantry`, `wsgi.*`).',
    fix: 'Remove the variable there.',
  },
  RESPONSE_HEAD: {
    status: 502,
    means: 'Reading a uwsgi response: the head is invalid.',
    fix: 'Correct the server that sent the response.',
  },
  RESPONSE_TRUNCATED: {
    status: 502,
    means: 'Reading a uwsgi response: the connection ended before the response was complete.',
    fix: 'Look in the log of the server that sent the response.',
  },
  RESPONSE_FRAMING: {
    status: 502,
    means: 'Reading a uwsgi response: the response has a transfer coding, or an invalid `Content-Length`.',
    fix: 'Correct the server that sent the response.',
  },
} as const

/** Gantry runs a CGI program, or is run as one. */
export const cgiCodes = {
  CGI_BYTES: {
    status: 400,
    means: 'A variable of the request is not valid UTF-8, and an environment cannot hold it.',
    fix: 'Correct the client, or do not serve this path by CGI.',
  },
  CGI_CONTENT_LENGTH: {
    status: 400,
    means: '`CONTENT_LENGTH` in the environment of `gantry cgi` is not a decimal number.',
    fix: 'Correct the web server.',
  },
  CGI_REQUEST_TOO_LARGE: {
    status: 431,
    means: "The request's variables are larger than the environment of a process may be.",
    fix: 'Lower `--head-limit` below the limit of the system (`getconf ARG_MAX`).',
  },
  CGI_START: {
    status: 500,
    means: 'The CGI program cannot be started.',
    fix: 'The message says why: no such file, not executable, no interpreter.',
  },
  CGI_HEAD: {
    status: 502,
    means: 'The CGI program ended without a head, or wrote an invalid one.',
    fix: 'Correct the program. What it wrote to standard error is in the log with the `source` `cgi`.',
  },
  CGI_NPH: {
    status: 502,
    means: 'The CGI program wrote an HTTP status line (non-parsed headers).',
    fix: 'Let the program write `Status: 200 OK` instead.',
  },
  CGI_EXIT: {
    status: 502,
    means: 'The CGI program failed during its response.',
    fix: 'Look in the log for what the program wrote to standard error.',
  },
  CGI_SHORT: {
    status: 502,
    means: 'The CGI program wrote fewer bytes than its `Content-Length`.',
    fix: 'Correct the length, or leave the field out.',
  },
  CGI_LOOP: {
    status: 502,
    means: 'Local redirects of the CGI program led back to the program too often.',
    fix: 'Correct the `Location` that the program writes.',
  },
  CGI_BUSY: {
    status: 503,
    means:
      '`concurrency` CGI programs run already, and `queue` requests wait, or none of the programs ended within `headTimeout`.',
    fix: 'Raise `concurrency` if the host has free cores, or make the program faster.',
  },
  CGI_NO_PROCESS: {
    status: 503,
    means: 'The system has no room for another process: memory, file descriptors or the limit of processes.',
    fix: 'Raise the limit that the message names (`ulimit -u`, `ulimit -n`), or lower `concurrency`.',
  },
  CGI_TIMEOUT: {
    status: 504,
    means: 'The CGI program wrote no head within `headTimeout`, or nothing for `idleTimeout`.',
    fix: 'Make the program faster, or raise the option.',
  },
} as const

/** Middleware answers in the place of the application. */
export const middlewareCodes = {
  UNAUTHORIZED: {
    status: 401,
    means: '`basicAuth`: no user name and password, or wrong ones.',
    fix: 'Nothing: browsers ask the user.',
  },
  TOO_MANY_LOGINS: {
    status: 503,
    means: '`basicAuth`: too many passwords wait to be checked.',
    fix: 'Somebody may be guessing passwords: look at `remote` in the access lines. Use a cheaper hash for machine clients.',
  },
  CACHE_SOURCE_CUT: {
    status: 502,
    means: '`cache`: the response that several requests waited for was aborted.',
    fix: 'Look in the log for the error of the application, which is the `cause`.',
  },
  APPLICATION_TIMEOUT: {
    status: 504,
    means: '`timeout`: the application did not respond in time.',
    fix: 'Make the application faster, or raise the time given to `timeout()`.',
  },
} as const

/** `xslt` did not transform a document: fields of a log line. */
export const xsltCodes = {
  XSLT_FAILED: {
    means: 'The stylesheet failed on this document.',
    fix: 'The message is the one of the XSLT processor.',
  },
  XSLT_TIMEOUT: {
    means: 'The transformation took longer than `timeout`.',
    fix: 'Simplify the stylesheet, or raise `timeout`.',
  },
  XSLT_BUSY: {
    means: 'More documents wait than `maxQueue` allows.',
    fix: 'Put `cache` in front of `xslt`, or raise `maxQueue`.',
  },
  XSLT_CANCELLED: {
    means: 'The request ended before its document was transformed.',
    fix: 'Nothing.',
  },
  XSLT_TOO_LARGE: {
    means: 'The document is longer than `maxBytes`.',
    fix: 'Raise `maxBytes`.',
  },
  XSLT_ENCODED: {
    means: 'The document has a content coding already.',
    fix: 'Put `compress` outside of `xslt`.',
  },
  XSLT_MISSING: {
    means: 'The package xslt-processor is not installed.',
    fix: 'Run the command that the message names.',
  },
  XML_ENCODING: {
    means: 'The document has a character encoding that is unknown, or bytes that are invalid in it.',
    fix: 'Send UTF-8.',
  },
  XML_MALFORMED: {
    means: 'The document is not well-formed XML.',
    fix: 'Correct the document at the line that the message names.',
  },
  XML_DOCTYPE: {
    means:
      'The DOCTYPE of the document contains declarations: they may name files, and make the document grow without bound.',
    fix: 'Remove the declarations, and write the characters instead of entities.',
  },
} as const
