/** The options of `gantry cgi`. */

import type { OptionValues } from '../../protocol/options/options.ts'
import { containerOptions } from '../options.ts'

type Module = {
  readonly module: typeof containerOptions.module
  readonly interface: Omit<typeof containerOptions.interface, 'sentence'> & { readonly sentence: string }
}

/** The container's sentence without listening servers: `gantry cgi` does not take over a server. */
const INTERFACE =
  'What EXPORT is: wsgi, a function of (environ, startResponse); node, a listener of (req, res), an Express, Koa, Fastify or NestJS application or an http.Server that does not listen; fetch, a function of (request) or an object with fetch(), as a Hono application is.'

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
  interface: { ...containerOptions.interface, sentence: INTERFACE },
  ...ownOptions,
}

export type CgiCommandOptions = OptionValues<typeof cgiOptions>
