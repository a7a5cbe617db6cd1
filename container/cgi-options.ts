/** The options of `gantry cgi`. */

import type { OptionValues } from '../protocol/options.ts'
import { containerOptions } from './options.ts'

type Module = Pick<typeof containerOptions, 'module' | 'interface'>

const ownOptions = {
  environ: {
    kind: 'text',
    list: true,
    value: 'NAMES',
    sentence:
      'Further variables of the process that the application finds in its environ, beside those of CGI. All others it finds in process.env, and nowhere else.',
    unset: 'none',
  },
} as const

export const cgiOptions: Module & typeof ownOptions = {
  module: containerOptions.module,
  interface: containerOptions.interface,
  ...ownOptions,
}

export type CgiCommandOptions = OptionValues<typeof cgiOptions>
