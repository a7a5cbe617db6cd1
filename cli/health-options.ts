/** The options of `gantry health`. */

import type { OptionValues } from '../protocol/options/option-table.ts'

export const healthCommandOptions = {
  // Has the name of the servers' option, so an image that sets GANTRY_HEALTH_LISTEN needs no ADDRESS.
  healthListen: {
    kind: 'address',
    forms: ['unix', 'tcp', 'http'],
    positional: true,
    required: true,
    value: 'ADDRESS',
    sentence:
      'Where to send the request: the address that a server has as --health-listen, or a URL. A URL with a path is requested as it is.',
  },
  live: {
    kind: 'flag',
    default: false,
    sentence: 'Check only whether the process is alive (/live), not whether it can serve requests (/ready).',
  },
  timeout: {
    kind: 'duration',
    default: '2s',
    sentence: 'How long the complete response may take.',
  },
} as const

export type HealthCommandOptions = OptionValues<typeof healthCommandOptions>
