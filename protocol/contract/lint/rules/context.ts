/** Rules of `environ.gantry`. Sentences only: `../context.ts` checks them. */

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
    sentence: 'Early hints are headers like any others, without Content-Length: a 103 has no content.',
  },
  EARLY_HINTS_LATE: {
    owes: 'application',
    source: 'RFC 8297 §2',
    sentence: 'environ.gantry.earlyHints() is called before the head has left; later it has no effect.',
  },
  TRAILERS_FUNCTION: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'environ.gantry.trailers takes a function that gives the fields (or a promise of them).',
  },
  TRAILERS_FIELD: {
    owes: 'application',
    source: 'RFC 9110 §6.5.1',
    sentence: 'Trailer fields are none that framing, routing or the content itself depend on.',
  },
  TRAILERS_LATE: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'environ.gantry.trailers() is called before the body ends.',
  },
  TRAILERS_ASKED: {
    owes: 'server',
    source: 'RFC 9110 §6.5',
    sentence: 'The trailer fields are asked for once, and after the body has ended.',
  },
  UPGRADE_ORDER: {
    owes: 'application',
    source: 'RFC 9110 §7.8',
    sentence: "environ.gantry.upgrade() is called once, after startResponse('101 …') and before the body has ended.",
  },
  UPGRADE_MISSING: {
    owes: 'application',
    source: 'RFC 9110 §7.8',
    sentence: "Who has called startResponse('101 …') calls environ.gantry.upgrade() before the body ends.",
  },
  UPGRADE_CONTENT: {
    owes: 'application',
    source: 'RFC 9110 §15.2',
    sentence: 'A 101 has no body: what follows it is written to what upgrade() gives, not yielded.',
  },
  UPGRADE_DUPLEX: {
    owes: 'server',
    source: 'Gantry',
    sentence: 'environ.gantry.upgrade() gives the raw connection, a Duplex.',
  },
  FINISHED_FUNCTION: {
    owes: 'application',
    source: 'Gantry',
    sentence: 'environ.gantry.onFinished takes a function.',
  },
  FINISHED_OUTCOME: {
    owes: 'server',
    source: 'Gantry',
    sentence: 'What onFinished was given is called once, with status, bytes and milliseconds as numbers.',
  },
} as const
