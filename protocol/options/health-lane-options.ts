/** The option that opens a health listener (`process/health-lane.ts`), for the tables of both processes. */

export const healthOptions = {
  healthListen: {
    kind: 'address',
    up: 'withheld',
    forms: ['tcp', 'unix'],
    value: 'ADDRESS',
    sentence:
      'Where the process answers GET /live and GET /ready as JSON with 200 or 503, separately from all other requests. `gantry health ADDRESS` sends its request there.',
    unset: 'nowhere',
  },
} as const
