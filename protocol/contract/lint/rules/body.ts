/**
 * The rules for `write`, for bodies, and for the server that reads and closes bodies. `../linted-call.ts` and
 * `../body.ts` check them.
 */

export const writeRules = {
  WRITE_ARGUMENTS: {
    owes: 'application',
    source: 'PEP 3333, The write() Callable',
    sentence: 'write takes one argument.',
  },
  WRITE_WHILE_ITERATED: {
    owes: 'application',
    source: 'PEP 3333, The write() Callable',
    sentence: 'write is not called after the server has begun to iterate the body.',
  },
  WRITE_AFTER_END: {
    owes: 'application',
    source: 'PEP 3333, The write() Callable',
    sentence: 'write is not called after the body has ended or was closed.',
  },
} as const

export const bodyRules = {
  BODY_ITERABLE: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence:
      'The body is an iterable or async iterable of Uint8Array; it is neither a string nor a Uint8Array itself.',
  },
  BODY_CLOSE: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'If the body has a close, it is a function.',
  },
  BODY_RESULT: {
    owes: 'application',
    source: 'ECMA-262 §27.1',
    sentence:
      'The iterator of the body follows the iterator protocol: next() returns a result object, or a promise of one if the iterator is async.',
  },
  CHUNK_TYPE: {
    owes: 'application',
    source: 'PEP 3333, Unicode Issues',
    sentence:
      'Every chunk is a Uint8Array, not a string: the application knows the encoding of its text, and encodes it.',
  },
  CHUNK_CHANGED: {
    owes: 'application',
    source: 'Gantry',
    sentence:
      'The application does not write to a chunk after it has passed the chunk to the server, which sends it without a copy and possibly later.',
  },
  CONTENT_TOO_LONG: {
    owes: 'application',
    source: 'PEP 3333, Handling the Content-Length Header',
    sentence: 'The body has no more bytes than its Content-Length declares.',
  },
  CONTENT_TOO_SHORT: {
    owes: 'application',
    source: 'PEP 3333, Handling the Content-Length Header',
    sentence: 'The body has no fewer bytes than its Content-Length declares.',
  },
  FAILED_AFTER_END: {
    owes: 'application',
    source: 'Gantry',
    sentence:
      'Nothing fails after the response is complete or closed: no pending promise, no return() and no close(). The client can no longer be informed.',
  },
} as const

export const closeRules = {
  BODY_ITERATED_TWICE: {
    owes: 'server',
    source: 'PEP 3333, The Server/Gateway Side',
    sentence: 'The body is iterated at most once.',
  },
  NEXT_WHILE_PENDING: {
    owes: 'server',
    source: 'PEP 3333, Buffering and Streaming',
    sentence: 'The server does not request the next chunk while a request for a chunk is pending.',
  },
  BLOCK_BOUNDARY: {
    owes: 'server',
    source: 'PEP 3333, Middleware Handling of Block Boundaries',
    sentence:
      'Middleware that has begun its response yields at least as often as its application: if a chunk was requested from it and it has received one, it yields one (an empty one if there is nothing to send yet) before it requests the next.',
  },
  NEXT_AFTER_DONE: {
    owes: 'server',
    source: 'Gantry',
    sentence: 'The server requests no chunk after the iterator has ended or failed, or after its return() was called.',
  },
  NEXT_AFTER_CLOSE: {
    owes: 'server',
    source: 'PEP 3333, The Server/Gateway Side',
    sentence: 'The server does not iterate the body after close().',
  },
  CLOSE_TWICE: {
    owes: 'server',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'close() is called exactly once: not twice.',
  },
  CLOSE_MISSING: {
    owes: 'server',
    source: 'PEP 3333, The Application/Framework Side',
    sentence:
      'close() is called exactly once, however the response ends: complete, aborted, after an error or a deadline, and for HEAD.',
  },
  ITERATOR_LEFT_OPEN: {
    owes: 'server',
    source: 'PEP 3333, Specification Details',
    sentence:
      'The server calls return() of an iterator that it has not read to the end, so that the finally of a generator runs.',
  },
} as const
