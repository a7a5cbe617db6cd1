/** Rules of `write`, of bodies, and of how a server reads and closes them. Sentences only: `../call.ts` and `../body.ts` check them. */

export const writeRules = {
  WRITE_ARGUMENTS: {
    owes: 'application',
    source: 'PEP 3333, The write() Callable',
    sentence: 'write takes one argument.',
  },
  WRITE_WHILE_ITERATED: {
    owes: 'application',
    source: 'PEP 3333, The write() Callable',
    sentence: 'write is not called once the body is being iterated.',
  },
  WRITE_AFTER_END: {
    owes: 'application',
    source: 'PEP 3333, The write() Callable',
    sentence: 'write is not called once the body has ended or was closed.',
  },
} as const

export const bodyRules = {
  BODY_ITERABLE: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'The body is an iterable or async iterable of Uint8Array, and not itself a string or a Uint8Array.',
  },
  BODY_CLOSE: {
    owes: 'application',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: "The body's close, if it has one, is a function.",
  },
  BODY_RESULT: {
    owes: 'application',
    source: 'ECMA-262 §27.1',
    sentence:
      "The body's iterator keeps to its protocol: next() gives a result object, from an async iterator a promise of one.",
  },
  CHUNK_TYPE: {
    owes: 'application',
    source: 'PEP 3333, Unicode Issues',
    sentence: 'Every chunk is a Uint8Array, not a string: text is encoded by who knows its encoding.',
  },
  CHUNK_CHANGED: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'A chunk is not written to again once it was given: it is sent without a copy, perhaps later.',
  },
  CONTENT_TOO_LONG: {
    owes: 'application',
    source: 'PEP 3333, Handling the Content-Length Header',
    sentence: 'The body has no more bytes than its Content-Length says.',
  },
  CONTENT_TOO_SHORT: {
    owes: 'application',
    source: 'PEP 3333, Handling the Content-Length Header',
    sentence: 'The body has no fewer bytes than its Content-Length says.',
  },
  FAILED_AFTER_END: {
    owes: 'application',
    source: 'Gantry',
    sentence:
      'Nothing fails once the response is complete or closed: neither a promise that was still pending, nor return(), nor close(). There is nobody left to answer.',
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
    sentence: 'The next chunk is not asked for while one is pending.',
  },
  BLOCK_BOUNDARY: {
    owes: 'server',
    source: 'PEP 3333, Middleware Handling of Block Boundaries',
    sentence:
      'Middleware that has begun its response yields at least as soon as its application does: asked for a chunk, and given one, it gives one (an empty one where there is nothing to send yet) before it asks for the next.',
  },
  NEXT_AFTER_DONE: {
    owes: 'server',
    source: 'Gantry',
    sentence: 'No chunk is asked for once the iterator has ended, failed or was returned.',
  },
  NEXT_AFTER_CLOSE: {
    owes: 'server',
    source: 'PEP 3333, The Server/Gateway Side',
    sentence: 'The body is not iterated after close().',
  },
  CLOSE_TWICE: {
    owes: 'server',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'close() is called exactly once: not twice.',
  },
  CLOSE_MISSING: {
    owes: 'server',
    source: 'PEP 3333, The Application/Framework Side',
    sentence: 'close() is called exactly once, on every path: full body, abort, error, deadline, HEAD.',
  },
  ITERATOR_LEFT_OPEN: {
    owes: 'server',
    source: 'PEP 3333, Specification Details',
    sentence: "An iterator that was not read to its end has its return() run, so that a generator's finally runs.",
  },
} as const
