/** The rules for `environ.gantry`. `../context.ts` checks them. */

export const gantryRules = {
  ENVIRON_CONTEXT: {
    owes: 'server',
    source: 'Gantry',
    sentence:
      'environ.gantry is a request context: signal, requestId, rawHeaders, draining, earlyHints, trailers, upgrade and onFinished.',
  },
  EARLY_HINTS_FIELD: {
    owes: 'application',
    source: 'RFC 8297 §2; RFC 9110 §8.6',
    sentence: 'Early hints are ordinary headers, without Content-Length: a 103 has no content.',
  },
  EARLY_HINTS_LATE: {
    owes: 'application',
    source: 'RFC 8297 §2',
    sentence: 'environ.gantry.earlyHints() is called before the head is sent; later it has no effect.',
  },
  TRAILERS_FUNCTION: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'environ.gantry.trailers takes a function that returns the fields or a promise of them.',
  },
  TRAILERS_FIELD: {
    owes: 'application',
    source: 'RFC 9110 §6.5.1',
    sentence: 'No trailer field frames or routes the message, or describes its content.',
  },
  TRAILERS_LATE: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'environ.gantry.trailers() is called before the body ends.',
  },
  TRAILERS_ASKED: {
    owes: 'server',
    source: 'RFC 9110 §6.5',
    sentence: 'The server calls the function for the trailer fields once, after the body has ended.',
  },
  UPGRADE_ORDER: {
    owes: 'application',
    source: 'RFC 9110 §7.8',
    sentence: "environ.gantry.upgrade() is called once, after startResponse('101 …') and before the body has ended.",
  },
  UPGRADE_MISSING: {
    owes: 'application',
    source: 'RFC 9110 §7.8',
    sentence:
      "An application that has called startResponse('101 …') calls environ.gantry.upgrade() before the body ends.",
  },
  UPGRADE_CONTENT: {
    owes: 'application',
    source: 'RFC 9110 §15.2',
    sentence: 'A 101 has no body: the application writes to the connection that upgrade() returns, and yields nothing.',
  },
  UPGRADE_DUPLEX: {
    owes: 'server',
    source: 'Gantry',
    sentence: 'environ.gantry.upgrade() returns the raw connection, a Duplex.',
  },
  FINISHED_FUNCTION: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'environ.gantry.onFinished takes a function.',
  },
  FINISHED_OUTCOME: {
    owes: 'server',
    source: 'Gantry',
    sentence: 'A callback of onFinished is called once, with status, bytes and milliseconds as numbers.',
  },
} as const
