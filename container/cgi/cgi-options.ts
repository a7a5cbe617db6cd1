/** The options of `gantry cgi`. */

import type { OptionValues } from '../../protocol/options/option-table.ts'
import { containerOptions } from '../options.ts'

type Module = {
  readonly module: typeof containerOptions.module
  readonly interface: Omit<typeof containerOptions.interface, 'sentence'> & { readonly sentence: string }
}

/** The container's sentence without listening servers: `gantry cgi` does not take over a server. */
const INTERFACE =
  'What EXPORT is: wsgi, a function of (environ, startResponse); node, a listener of (req, res), an Express, Koa, Fastify or NestJS application or an http.Server that does not listen; fetch, a function of (request) or an object with fetch(), for example a Hono application.'

const ownOptions = {
  environ: {
    kind: 'text',
    list: true,
    value: 'NAMES',
    sentence:
      'Environment variables to add to the environ, beside those of CGI. The application finds all other variables in process.env only.',
    unset: 'none',
  },
} as const

export const cgiOptions: Module & typeof ownOptions = {
  module: containerOptions.module,
  interface: { ...containerOptions.interface, sentence: INTERFACE },
  ...ownOptions,
}

export type CgiCommandOptions = OptionValues<typeof cgiOptions>
