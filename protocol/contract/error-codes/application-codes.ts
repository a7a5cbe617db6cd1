/**
 * Codes of mistakes in the code that calls Gantry: an application, middleware, a script. `error-codes.ts` says how to
 * read a row.
 */

/**
 * The application or middleware breaks its contract. Before the head is sent the client gets 500, afterwards an
 * incomplete response.
 */
export const applicationCodes = {
  NOT_STARTED: {
    means: 'The application returned its body without calling `startResponse`.',
    fix: 'Call `startResponse` before the first byte, in each branch.',
  },
  START_TWICE: {
    means: '`startResponse` was called a second time without `excInfo`.',
    fix: 'Call `startResponse` once; to replace a head after an error give the error as third argument.',
  },
  START_AFTER_END: {
    means: '`startResponse` was called after the body was closed.',
    fix: 'Await what the application starts before it returns.',
  },
  WRITE_AFTER_END: {
    means: '`write()` was called after the end of the response.',
    fix: 'Await each `write()` before the body ends.',
  },
  WRITE_OVERRUN: {
    means: '`write()` was called again and again without waiting, so that the response would fill the memory.',
    fix: 'Await the promise that `write()` returns.',
  },
  BODY_TOO_SHORT: {
    means: 'The body has fewer bytes than its Content-Length. The client sees an incomplete response.',
    fix: 'Count bytes, not characters (`Buffer.byteLength(text)`), or leave the field out.',
  },
  BODY_TOO_LONG: {
    means: 'The body has more bytes than its Content-Length. The bytes above it were not sent.',
    fix: 'Count bytes, not characters (`Buffer.byteLength(text)`), or leave the field out.',
  },
  FILE_TRUNCATED: {
    means: 'A file became shorter while it was sent.',
    fix: 'Replace a file by renaming a new one over it; do not write into it.',
  },
  INPUT_BUSY: {
    means: '`wsgi.input` was read while another read was pending.',
    fix: 'Await one read before the next.',
  },
  INPUT_CLOSED: {
    means: '`wsgi.input` was read after the request was over.',
    fix: 'Read the body before the response ends.',
  },
  NO_UPGRADE: {
    means:
      '`environ.gantry.upgrade()` was called at the wrong time or for a connection that has none, or the status 101 was given without it.',
    fix: "Call `upgrade()` once, after `startResponse('101 …')` and before the head is sent, for a request with `HTTP_UPGRADE`.",
  },
  NO_EXCHANGE: {
    means: '`upgrade()` was called on a context that belongs to no request.',
    fix: 'Call `upgrade()` of the `environ.gantry` of the request.',
  },
  BODY_READ: {
    means: '`toNode()`: something read the body of the request before the application.',
    fix: 'Put the listener of `toNode()` before body parsers.',
  },
  HEAD_SENT: {
    means: '`toNode()`: the head of the response was sent before the application began its own.',
    fix: 'Write nothing to the response before calling the listener of `toNode()`.',
  },
  RAW_RESPONSE: {
    means: "A listener wrote bytes to the request's socket that are not an HTTP/1.1 response.",
    fix: 'Write a status line and header lines first, or use `res`.',
  },
  NEVER_ANSWERED: {
    means: '`gantry cgi`: the event loop is empty, and the application has not responded.',
    fix: 'Look for a promise that is never resolved.',
  },
  SERVER_CLOSED: {
    means: '`makeServer`: a method was called after `close()`.',
    fix: 'Make a new server.',
  },
  SERVER_BUSY: {
    means: '`makeServer`: a method was called while `serveForever()` runs.',
    fix: 'Call `handleRequest()` or `serveForever()`, not both.',
  },
} as const

/**
 * Code calls a class of `gantry/protocol` in a state that does not allow it; inside Gantry that is a fault of Gantry.
 */
export const stateCodes = {
  INPUT_ENDED: { means: '`push()` after the end of a request body.' },
  NOT_WHOLE: { means: 'A body of which a part is lost cannot be sent again.' },
  NOT_OPEN: { means: 'No request can be made on this link now: it is not open yet, draining, or at its limit.' },
  NOT_UPGRADE: { means: 'A 101 for a request that asks for no upgrade.' },
  NOT_LATIN1: { means: 'A native string contains a code unit above U+00FF.' },
  HEAD_TOO_LARGE: { means: 'A head or trailers longer than the peer of a link accepts.' },
  HELLO_TOO_LARGE: { means: 'The id of this process makes its HELLO longer than 4096 bytes.' },
  EMPTY_TOKEN: { means: 'The shared token is empty.' },
  RESPONDED: { means: 'A second response on one stream of a link.' },
  ENDED: { means: 'Data after the end of a stream of a link.' },
  TOO_EARLY: { means: 'Data or trailers on a stream of a link that cannot have them yet.' },
  RESPONSE_TWICE: { means: 'A second final response on an HTTP connection.' },
  NOT_OVER: { means: 'The next request of an HTTP connection before the current one is over.' },
  STREAM_OVER: { means: 'The connection of an exchange serves another request already.' },
  LLHTTP_MEMORY: { means: 'The WebAssembly of llhttp has no memory for another parser.' },
  UWSGI_NATIVE_STRING: { means: 'A variable of a uwsgi packet contains a code unit above U+00FF.' },
  UWSGI_TOO_LARGE: { means: 'The variables of a uwsgi packet are longer than 65535 bytes.' },
  DETACHED: { means: 'The parser of an HTTP connection gets bytes after an upgrade.' },
  CLOSED: { means: 'The parser of an HTTP connection gets bytes after its end.' },
} as const
