/** The option that opens a health lane (`health.ts`), for the tables of both processes. */

export const healthOptions = {
  healthListen: {
    kind: 'address',
    up: 'withheld',
    forms: ['tcp', 'unix'],
    value: 'ADDRESS',
    sentence:
      'Where GET /live and GET /ready are answered as JSON, 200 or 503, apart from all requests; `gantry health ADDRESS` asks there.',
    unset: 'nowhere',
  },
} as const
