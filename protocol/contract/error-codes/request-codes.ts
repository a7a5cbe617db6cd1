/**
 * Codes of requests that end with an error status, and the status that the client gets. `error-codes.ts` says how to
 * read a row.
 */

/** The head or the body of the request breaks HTTP/1.1 (RFC 9112). */
export const malformedCodes = {
  BAD_REQUEST_LINE: {
    status: 400,
    means: 'The first line is not `METHOD TARGET HTTP/1.1`.',
    fix: 'Look at `request` in the access line. Bytes that begin with `\\u0016\\u0003` are TLS: the client used https:// on a port that speaks plain HTTP.',
  },
  BAD_METHOD: {
    status: 400,
    means: 'The method is not a token (RFC 9110 §5.6.2).',
    fix: 'Correct the client.',
  },
  BAD_TARGET: {
    status: 400,
    means:
      'The target is neither a path nor an http URL, or contains `#`, a space, a control character, a backslash or a byte above 0x7E.',
    fix: 'Percent-encode the URL in the client: `encodeURI(url)` in JavaScript.',
  },
  BAD_ESCAPE: {
    status: 400,
    means: 'The path contains a `%` without two hexadecimal digits, or `%00`.',
    fix: 'Encode a literal `%` as `%25` in the client.',
  },
  BAD_HOST: {
    status: 400,
    means: '`Host` is not a host name or an address with an optional port.',
    fix: 'Correct the client, or the web server in front: `proxy_set_header Host $host` in nginx.',
  },
  HOST_MISSING: {
    status: 400,
    means: 'A request with HTTP/1.1 has no `Host` field.',
    fix: 'Let the client send `Host`; health checks written by hand often lack it.',
  },
  HOST_REPEATED: {
    status: 400,
    means: 'The request has more than one `Host` field.',
    fix: 'Let the client, or the proxy in front, send one.',
  },
  BAD_HEADERS: {
    status: 400,
    means:
      'A header line is invalid: an illegal name, a control character, a folded line, or a space before the colon.',
    fix: 'Correct the client; the message in the log names the fault.',
  },
  BARE_LF: {
    status: 400,
    means: 'A line of the head ends in LF without CR.',
    fix: 'End each line with CRLF in the client. If `request` in the access line begins with `\\u0016\\u0003`, the client used https:// on a port that speaks plain HTTP.',
  },
  BAD_LENGTH: {
    status: 400,
    means: '`Content-Length` is not a decimal number.',
    fix: 'Correct the client.',
  },
  LENGTH_REPEATED: {
    status: 400,
    means: 'The request has more than one `Content-Length` field.',
    fix: 'Correct the client or the proxy in front. Such requests are also sent to smuggle a second request past a proxy.',
  },
  LENGTH_AND_CODING: {
    status: 400,
    means: 'The request has both `Content-Length` and `Transfer-Encoding`.',
    fix: 'Correct the client or the proxy in front. Such requests are also sent to smuggle a second request past a proxy.',
  },
  CODING_ON_1_0: {
    status: 400,
    means: 'A request with HTTP/1.0 has `Transfer-Encoding`.',
    fix: 'Let the client use HTTP/1.1, or `Content-Length`.',
  },
  BAD_CHUNK: {
    status: 400,
    means: 'The chunked body is invalid: a wrong chunk size, or a missing CRLF.',
    fix: 'Correct the client.',
  },
  BAD_TRAILER: {
    status: 400,
    means: 'A trailer field has a name that may only stand in the head, such as `Content-Length`.',
    fix: 'Send the field in the head.',
  },
  BODY_LENGTH: {
    status: 400,
    means: 'The body has more or fewer bytes than its `Content-Length`.',
    fix: 'Correct the length, or the caller that changed the body without changing the length.',
  },
  BAD_HEADER: {
    status: 400,
    means: 'A fetch application got a request whose header field the class `Headers` does not accept.',
    fix: 'Correct the client; the `cause` names the field.',
  },
  EXPECTATION_UNKNOWN: {
    status: 417,
    means: 'The request has an `Expect` field other than `100-continue`.',
    fix: 'Remove the field in the client.',
  },
  METHOD_UNKNOWN: {
    status: 501,
    means: 'The method is not one that Node and Gantry know.',
    fix: 'Use a registered method.',
  },
  METHOD: {
    status: 501,
    means: 'A fetch application got a method that a `Request` cannot have: `CONNECT`, `TRACE` or `TRACK`.',
    fix: 'Answer this method in middleware, before the fetch application.',
  },
  CODING_UNSUPPORTED: {
    status: 501,
    means: 'The request has a transfer coding other than `chunked`.',
    fix: 'Send the body with `chunked` or with `Content-Length`.',
  },
  VERSION_UNSUPPORTED: {
    status: 505,
    means: 'The version of the request is not HTTP/1.0 or HTTP/1.1.',
    fix: 'Use HTTP/1.1. For HTTP/2 put a web server in front.',
  },
} as const

/** The request is well-formed, but too large or too slow. */
export const limitCodes = {
  HEAD_TIMEOUT: {
    status: 408,
    means: 'The head of the request did not arrive within `--head-timeout`.',
    fix: 'If honest clients are this slow, raise `--head-timeout`.',
  },
  BODY_TIMEOUT: {
    status: 408,
    means: 'No byte of the body arrived for `--body-timeout`.',
    fix: 'If honest clients pause this long, raise `--body-timeout`.',
  },
  BODY_TOO_LARGE: {
    status: 413,
    means: 'The body is longer than `--body-limit`, or than the limit of the middleware `bodyLimit`.',
    fix: 'Raise the limit, or let the client send less.',
  },
  CHUNK_OVERHEAD: {
    status: 413,
    means: 'The body has too many bytes of chunk extensions.',
    fix: 'Send no chunk extensions.',
  },
  TARGET_TOO_LONG: {
    status: 414,
    means: 'The target of the request is longer than `--target-limit`.',
    fix: 'Raise `--target-limit`, or send the data in the body of a POST.',
  },
  HEAD_TOO_LARGE: {
    status: 431,
    means: 'The head of the request is longer than `--head-limit`, or than the container accepts.',
    fix: 'Raise `--head-limit` on both processes. The usual cause is cookies: let the application delete those that it does not need.',
  },
  TOO_MANY_FIELDS: {
    status: 431,
    means: 'The request has more than 256 header or trailer fields.',
    fix: 'Send fewer fields.',
  },
  TRAILERS_TOO_LARGE: {
    status: 431,
    means: 'The trailers of the body are longer than `--head-limit`.',
    fix: 'Send shorter trailers, or raise `--head-limit`.',
  },
} as const

/** The process has no capacity for the request, or stops. The response has `Retry-After`. */
export const overloadCodes = {
  MAX_CONNECTIONS: {
    status: 503,
    means: '`--max-connections` clients are connected, and no idle connection can be closed for this one.',
    fix: 'Raise `--max-connections` and `ulimit -n`, or add proxies.',
  },
  SLOTS_TAKEN: {
    status: 503,
    means: 'The `admit` option of a gateway that was started in code refused the request.',
    fix: 'Change what `admit` decides.',
  },
  QUEUE_FULL: {
    status: 503,
    means: 'No slot is free, and `--queue-size` requests wait already.',
    fix: 'Add containers or raise `--slots`. `queueMs` in the access lines says how long requests wait.',
  },
  QUEUE_TIMEOUT: {
    status: 503,
    means: 'No slot became free within `--queue-timeout`.',
    fix: 'Look at `pool` in the last line about a container: is one ready? If so, add containers or raise `--slots`.',
  },
  CLOSING: {
    status: 503,
    means: 'The proxy stops while the request waits in its queue.',
    fix: 'Nothing: the client tries again. If this happens in each deploy, raise `--drain-delay`.',
  },
  UPSTREAM_CLOSED: {
    status: 503,
    means: 'An HTTP upstream gets no further requests, because the proxy stops or has removed the upstream.',
    fix: 'Nothing: the client tries again.',
  },
  UPSTREAM_REFUSED: {
    status: 503,
    means:
      'Each container or server that was tried refused the request or could not be reached. The request did not run.',
    fix: 'The message in the log names the last one and the reason: start it, or add containers.',
  },
} as const

/** The container or server behind the proxy did not respond, or not completely. */
export const upstreamCodes = {
  UPSTREAM_UNREACHABLE: {
    status: 502,
    means:
      'No connection to an HTTP upstream could be made. The proxy tries again, also elsewhere, before the client gets an error.',
    fix: 'Start the server; check the address. `reason` of the last line about this `member` says why.',
  },
  UPSTREAM_CONNECT_TIMEOUT: {
    status: 504,
    means: 'An HTTP upstream did not accept a connection in time.',
    fix: 'A firewall drops packets, or the host is down. Try `curl -v` from the host of the proxy.',
  },
  UPSTREAM_LOST: {
    status: 502,
    means:
      'The container or server closed the connection before the response was complete. The request may have run, and is not safe to repeat.',
    fix: 'Look in the log of the container for `uncaught exception`, and in the system for a process that was killed for its memory.',
  },
  UPSTREAM_PROTOCOL: {
    status: 502,
    means: 'The response of the upstream is not valid HTTP, or cannot be forwarded.',
    fix: 'Correct the upstream. `cause` in the log names the fault.',
  },
  UPSTREAM_RESET: {
    status: 502,
    means: 'In an application made by `connect()`: the container aborted the request.',
    fix: 'Look in the log of the container for the id of the request.',
  },
  UPSTREAM_GOAWAY: {
    status: 503,
    means: 'In an application made by `connect()`: the container drains. The request did not run.',
    fix: 'Nothing: the client tries again.',
  },
  UPSTREAM_NOT_READY: {
    status: 503,
    means:
      'In an application made by `connect()`: the link ended before the request was sent. The request did not run.',
    fix: 'Nothing: the client tries again.',
  },
  UPSTREAM_UNAVAILABLE: {
    status: 503,
    means: 'In an application made by `connect()`: there was no link with a free slot within its `timeout`.',
    fix: 'The message says why. Start the container, or raise its `--slots`.',
  },
  UPSTREAM_TIMEOUT: {
    status: 504,
    means: 'The response did not begin within `--timeout`.',
    fix: 'Find the slow request by `url` in the access lines. Raise `--timeout` only if the application is meant to take this long.',
  },
  UPSTREAM_IDLE: {
    status: 504,
    means:
      'The response paused for longer than `--idle-timeout` and was aborted. The status of a response that has begun stays what it was.',
    fix: 'Raise `--idle-timeout`, or let the application send something in shorter intervals (a comment line, in server-sent events).',
  },
} as const

/** A fault of the process itself, or of the application that it serves. */
export const faultCodes = {
  INTERNAL: {
    status: 500,
    means: 'An unexpected error in Gantry.',
    fix: 'Report it with `err` of the log line.',
  },
  NO_LISTENER: {
    status: 500,
    means: "The application's `http.Server` has no `request` listener.",
    fix: "Give `createServer()` a listener, or call `server.on('request', listener)` before `listen()`.",
  },
  SOCKET_ERROR: {
    status: 400,
    means: "Code of the application emitted `error` on the request's socket.",
    fix: 'The message is the one of that error.',
  },
} as const
