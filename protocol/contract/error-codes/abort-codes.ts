/**
 * Codes of requests that were aborted, and of single attempts of a request. `error-codes.ts` says how to read a row.
 */

/** Why an exchange ended early. */
export const abortCodes = {
  CLIENT_GONE: {
    means: 'The client closed or reset its connection.',
    fix: 'Nothing. If many requests end like this, compare `ms` with the timeouts of the clients and of the load balancer.',
  },
  DEADLINE: {
    means: 'A timeout of this process passed; the message names the option.',
    fix: 'Make the application faster, or raise the option.',
  },
  DRAIN_TIMEOUT: {
    means: 'The process had to stop before the request was complete.',
    fix: 'Raise `--drain-timeout`, or end long responses when `environ.gantry.draining` is true.',
  },
  APPLICATION: {
    means: 'The application threw, or broke its contract, after its head was sent.',
    fix: 'Look for the line with the same `requestId` that has `err`.',
  },
  UPSTREAM: {
    means: 'The process behind this one disconnected.',
    fix: 'Look in its log.',
  },
  PROTOCOL: {
    means: "The client's body is not valid HTTP.",
    fix: 'Look for the line with the same `requestId` that has the code of the fault.',
  },
  SLOW_CLIENT: {
    status: 408,
    means:
      'The client sent or read too slowly while other requests waited for its slot or its connection. If the response had begun, it is aborted instead.',
    fix: 'See [slow-clients.md](slow-clients.md).',
  },
} as const

/** Why one attempt of a request failed: the `cause` of an error, and what decides whether the request is sent again. */
export const attemptCodes = {
  REFUSED: {
    means: 'The container has no free slot. The request did not run.',
    fix: 'Nothing: the request is sent to another container.',
  },
  GOAWAY: {
    means: 'The container drains. The request did not run.',
    fix: 'Nothing: the request is sent to another container.',
  },
  NOT_READY: {
    means: 'The link was not open any more. The request was not sent.',
    fix: 'Nothing: the request is sent to another container.',
  },
  TOO_LARGE: {
    means:
      'The head or the trailers are larger than the container accepts. If the head is too large, the request was not sent. Trailers follow the body, so the application can have run. The client gets 431 if its response has not begun.',
    fix: 'Raise `--head-limit` of the container.',
  },
  LOST: {
    means: 'The link was lost or closed.',
    fix: 'Look in the log of the container, and for a process that was killed for its memory.',
  },
  RESET: {
    means: 'The container aborted the request.',
    fix: 'Look in the log of the container for the id of the request.',
  },
  PROTOCOL: {
    means: 'The response of the container is invalid.',
    fix: 'Report it with the versions of both processes.',
  },
  ABORTED: {
    means: 'This process gave the request up; the `cause` says why.',
    fix: 'See the code of the `cause`.',
  },
} as const
