/** The options of `gantry health`. */

import type { OptionValues } from '../protocol/options/options.ts'

export const healthCommandOptions = {
  // Named as the servers' own option: where the environment of an image says where they listen, no ADDRESS is needed.
  healthListen: {
    kind: 'address',
    forms: ['unix', 'tcp', 'http'],
    positional: true,
    required: true,
    value: 'ADDRESS',
    sentence:
      'Whom to ask: what a server was given as --health-listen, or a URL, which is asked for as it is if it has a path.',
  },
  live: {
    kind: 'flag',
    default: false,
    sentence: 'Ask only whether it lives (/live), not whether it can serve requests (/ready).',
  },
  timeout: {
    kind: 'duration',
    default: '2s',
    sentence: 'How long the whole answer may take.',
  },
} as const

export type HealthCommandOptions = OptionValues<typeof healthCommandOptions>
